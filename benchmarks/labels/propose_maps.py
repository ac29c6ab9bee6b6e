r"""The label maps that are proposed for three labelled files, and the accuracy under them.

One decision: beside each proposal stands the truth. The demonstration's caption table says what
each label of these files is called in a caption. It was written by hand; no proposal knows it.

    python benchmarks/labels/propose_maps.py BUNDLE CELLS.h5ad... --ontology CL.json.zst
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

import c2t
from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.metrics.bootstrap import BootstrapOptions
from c2t.examples.demo import describe_pbmc
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.options import CellOptions

RESULT = Path(__file__).parents[1] / "results" / "label_maps.json"


def measure(bundle: Bundle, path: Path, entry: dict[str, Any], options: EvaluateOptions) -> Any:
    """Propose a map for a file, and compare it with the table."""
    options = replace(options, cells=path, columns={"cell_type": entry["label_column"]})
    evaluation, _ = evaluate_bundle(bundle, options)
    proposal = evaluation.proposal
    assert proposal is not None
    return {
        "cells": evaluation.cells,
        "accuracy_as_it_is": round(proposal.accuracy_as_is, 4),
        "accuracy_under_the_proposal": round(proposal.accuracy, 4),
        "of_that_without_assigned_labels": round(proposal.accuracy_named or 0, 4),
        "assigned_on_the_other_half": round(proposal.accuracy_crossed, 4),
        "share_of_cells_with_assigned_labels": round(proposal.assigned_cells, 4),
        "lines": [
            {
                "label": line.label,
                "name": line.name,
                "term": line.term,
                "use": line.use,
                "evidence": f"{line.reason}: {line.evidence}",
                "share": round(line.share, 4),
                "second": line.second,
                "as_in_the_caption_table": line.name == entry["labels"].get(line.label),
            }
            for line in proposal.lines
        ],
    }


def main(
    bundle: Annotated[Path, typer.Argument(help="The demonstration's bundle.")],
    cell_files: Annotated[list[Path], typer.Argument(help="Labelled files of its training.")],
    ontology: Annotated[Path | None, typer.Option(help="Cell Ontology.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first cells of each file.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output")] = RESULT,
) -> None:
    """Write what is proposed."""
    table = json.loads((describe_pbmc.HERE / "caption_table.json").read_text(encoding="utf-8"))
    opened = open_bundle(bundle)
    options = EvaluateOptions(
        cells=cell_files[0],
        ontologies={"cell_type": ontology},
        reading=CellOptions(limit=limit),
        bootstrap=BootstrapOptions(resamples=100),
        propose=True,
    )
    names = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    result: dict[str, Any] = {
        "command": shlex.join(["python", "benchmarks/labels/propose_maps.py", *names]),
        "c2t": c2t.__version__,
        "python": platform.python_version(),
        "ontology": None if ontology is None else ontology.name,
        "files": {
            path.name: measure(opened, path, table["sets"][path.stem], options)
            for path in cell_files
        },
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8", newline="")
    for name, found in result["files"].items():
        right = sum(line["as_in_the_caption_table"] for line in found["lines"])
        print(
            f"{name}: {found['accuracy_as_it_is']} -> {found['accuracy_under_the_proposal']}, "
            f"{right} of {len(found['lines'])} names as in the caption table"
        )


if __name__ == "__main__":
    typer.run(main)
