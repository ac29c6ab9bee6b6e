"""Options that several commands share, so that one name means one thing."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.engines.table import EngineName
from c2t.runtime.trust.variable import TRUST_VARIABLE


class Shell(StrEnum):
    """A shell that can complete c2t's words."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PUBLIC_KEY", envvar=TRUST_VARIABLE, help="Refuse what this key has not signed."
    ),
]
AuditOption = Annotated[
    Path | None,
    typer.Option(envvar="C2T_AUDIT", help="Append to an audit trail what is done, and by whom."),
]
AuditKeyOption = Annotated[
    Path | None,
    typer.Option(envvar="C2T_AUDIT_KEY", help="The trail's key.  [default: the user's own]"),
]
AuditHeadOption = Annotated[
    Path | None,
    typer.Option(
        envvar="C2T_AUDIT_HEAD",
        help="File with the trail's end, kept away from it.  [default: in the state directory]",
    ),
]
AuditReasonOption = Annotated[
    str, typer.Option(help="Why settings are others than before, for the audit trail.")
]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Forget what an interrupted run left.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="What runs the graphs; auto: the best that works.")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Only the first cells.")]
CellChoiceOption = Annotated[
    str | None, typer.Option("--cells", help="Only these: ids with commas, or a file of them.")
]
CELLS_HELP = (
    "Cells: .h5ad, .h5ad.gz, 10x .h5, .h5mu, .loom, .zarr, a folder or zip with a matrix (MEX), or "
    "a text table (.csv, .tsv)."
)
PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which data set of a file with several: a modality of .h5mu (rna without it), a "
        "genome, one of several matrices; of a text table cells-x-genes or genes-x-cells.",
    ),
]
MaxNewTokensOption = Annotated[int | None, typer.Option(min=1, help="Longest text, in tokens.")]
NumBeamsOption = Annotated[int | None, typer.Option(min=1, help="1 is greedy search.")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Cells written at the same time.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads; all cores if not given.")]
LabelMapOption = Annotated[
    Path | None, typer.Option(help="What labels mean: .csv or .tsv with label and name, or JSON.")
]
OntologyOption = Annotated[
    Path | None, typer.Option(help="Cell Ontology, .obo or .json[.gz|.zst].  [default: installed]")
]
AccuracyToleranceOption = Annotated[
    float, typer.Option(min=0, help="Accuracy that may be lost, in percentage points.")
]
SimilarityToleranceOption = Annotated[
    float, typer.Option(min=0, help="Ontology similarity that may be lost, in percent.")
]
QuestionOption = Annotated[
    str | None, typer.Option(help="What to ask about each cell, of a bundle that answers.")
]
LeastAgreementOption = Annotated[
    float, typer.Option(min=0, max=100, help="Tokens that must be the same, in percent.")
]
