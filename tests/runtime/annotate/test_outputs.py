"""Tables of labels are read back as they were, whatever a cell's name holds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from c2t.runtime.annotate.labels import Label, Labels
from c2t.runtime.annotate.outputs import Output, write_csv, write_matrix_csv
from c2t.runtime.annotate.results import Results
from c2t.runtime.describe.labelled_cell import LabelledCell

IDS = ["a\rb", 'c,"d"\r\n', "e\n", "f"]


def test_line_breaks_in_names_of_cells(tmp_path: Path) -> None:
    labels = Labels((Label("T cell"), Label("odd\rlabel")), "test")
    results = Results(IDS, np.arange(len(IDS)), labels)
    for name in IDS:
        shares = np.log([0.25, 0.5])
        results.add(
            LabelledCell(cell=name, labels=labels.names, log_probabilities=shares, genes_used=2)
        )
    output = Output(results=results, cells=tmp_path / "cells.h5ad", top=2, about={})
    for write in (write_csv, write_matrix_csv):
        write(output, tmp_path / "out.csv")
        with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
            head, *rows = csv.reader(stream)
        assert [row[0] for row in rows] == IDS
        assert "odd\rlabel" in head + rows[0]
        assert {len(row) for row in rows} == {len(head)}
        assert (tmp_path / "out.csv").read_bytes().endswith(b"\n")
        assert not (tmp_path / "out.csv").read_bytes().endswith(b"\r\n")
