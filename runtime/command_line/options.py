"""Options that several commands share, so that one name means one thing."""

import enum
from pathlib import Path
from typing import Annotated

import typer


class EngineName(enum.StrEnum):
    """What `--engine` takes; see `c2t.runtime.engines.choose`."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"
    rtx = "rtx"
    tensorrt_ep = "tensorrt-ep"


EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="What runs the graphs; auto: the best that works.")
]
LayerOption = Annotated[
    str | None, typer.Option(help='Matrix with the counts: "X", "raw" or a layer\'s name.')
]
GeneColumnOption = Annotated[
    str | None, typer.Option(help="Column of `var` with Ensembl ids or symbols.")
]
AccuracyToleranceOption = Annotated[
    float, typer.Option(min=0, help="Accuracy that may be lost, in percentage points.")
]
SimilarityToleranceOption = Annotated[
    float, typer.Option(min=0, help="Ontology similarity that may be lost, in percent.")
]
LeastAgreementOption = Annotated[
    float, typer.Option(min=0, max=100, help="Tokens that must be the same, in percent.")
]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
