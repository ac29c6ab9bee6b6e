"""What `c2t demo --family cell2sentence` does: the demonstration with a model that reads sentences.

It goes the way of `c2t demo`, with another model: one decoder, to which a cell is a list of names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from c2t.examples.demo import describe_pbmc
from c2t.export.checkpoint.options import CheckpointOptions

CHECKPOINT = Path(__file__).parent / "checkpoint"
# As the model's card says it was trained; what the export assumes is the same, but says so.
CHECKPOINT_OPTIONS = CheckpointOptions(
    family="cell2sentence",
    model=CHECKPOINT,
    name="c2t-demo-cell2sentence",
    template="cell-type",
    top_genes=200,
    organism=["human"],
    phrases=CHECKPOINT / "phrases.txt",
    ontology=[CHECKPOINT / "terms.json"],
)


def run_demo(
    folder: Path, *, force: bool = False, report: Callable[[str], None] = lambda _: None
) -> str:
    """Export, describe and score, as `c2t.examples.demo.describe_pbmc.run_demo` does."""
    return describe_pbmc.run_demo(folder, checkpoint=CHECKPOINT_OPTIONS, force=force, report=report)
