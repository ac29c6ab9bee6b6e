"""The options of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from c2t.calibration.metrics.bootstrap import BootstrapOptions
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.describer import DescribeOptions


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The labelled cells, how to describe them, and what to judge the texts by.

    Args:
        cells: The `.h5ad` file of labelled cells.
        columns: Field -> column of its labels. Other fields are read from CELLxGENE's columns where
            the file has them; "cell_type" must be there.
        label_map: See `c2t.calibration.evaluate.true_labels`.
        ontologies: Field -> ontology file; other fields take the installed guide's, if any.
        references: File of reference captions (.jsonl or .csv).
        reference_column: Column of reference captions, instead of a file.
        bert_model: Folder of a model for BERTScore.
        reading: How to read the cells, and which.
        describing: How to describe them.
        bootstrap: How intervals are computed.
        examples: How many cells to show.
        propose: Propose a label map also where none seems needed.
    """

    cells: Path
    columns: dict[str, str | None] = field(default_factory=dict)
    label_map: Path | None = None
    ontologies: dict[str, Path | None] = field(default_factory=dict)
    references: Path | None = None
    reference_column: str | None = None
    bert_model: Path | None = None
    reading: CellOptions = field(default_factory=CellOptions)
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    bootstrap: BootstrapOptions = field(default_factory=BootstrapOptions)
    examples: int = 12
    propose: bool = False
