"""What makes a calibration fail is found before files are hashed and cells are described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from ask_bundles import sentence_bundle as asking_bundle
from cli_process import make_cells
from tiny_data import BUNDLES

from c2t.calibration import chosen_cells
from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.describe.describer import Describer
from c2t.runtime.system.errors import (
    CalibrationError,
    CellFileError,
    EvaluationError,
    OutputError,
    TaskError,
)

OBO = "format-version: 1.2\n\n[Term]\nid: CL:1\nname: a\n\n[Term]\nid: CL:2\nname: b\nis_a: CL:1\n"


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where an engine is opened."""
    monkeypatch.setattr(Describer, "__init__", lambda *_, **__: pytest.fail("opened engines"))
    monkeypatch.setattr(chosen_cells, "open_session", lambda *_: pytest.fail("opened the encoder"))


@pytest.fixture
def nothing_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where a file of the bundle is hashed."""
    monkeypatch.setattr(Bundle, "check_hashes", lambda *_, **__: pytest.fail("hashed files"))


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = make_cells(tmp_path / "cells.h5ad", 20)
    adata = anndata.read_h5ad(path)
    adata.obs["kind"] = np.where(np.arange(20) % 2, "x cell", "y cell")
    adata.obs["nobody"] = "unknown"
    adata.write_h5ad(path)
    return path


def refused(cells: Path, output: Path, **more: Any) -> pytest.ExceptionInfo[Exception]:
    options = CalibrateOptions(cells=cells, output=output, **{"gate_cells": 8, **more})
    errors = (CalibrationError, EvaluationError, OutputError, CellFileError)
    with pytest.raises(errors) as caught:
        calibrate_bundle(open_bundle(BUNDLES["mlp"], verify=False), options, verify=True)
    assert caught.value.hint
    return caught


@pytest.mark.usefixtures("nothing_runs", "nothing_hashed")
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cells_count": 2}, "--cells-count is 2"),
        ({"gate_cells": 0}, "--gate-cells is 0"),
        ({"threads": 0}, "--threads is 0"),
        ({"divergence_linears": -1}, "--divergence-products is -1"),
        ({"precision": Precision.fp32}, "cannot be calibrated to precision fp32"),
        (
            {"precision": Precision.int4_weights, "float_prefix": True},
            "--float-prefix is for int8: int4-weights has all activations in float32",
        ),
        ({"output": Path("missing/int8")}, "there is no folder"),
        ({"cells": Path("none.h5ad")}, "none.h5ad"),
        ({"label_column": "sort"}, "no column 'sort' of cell types"),
        ({"label_column": "nobody"}, "has a label in obs"),
        ({"label_map": Path("none.json")}, "none.json"),
        ({"ontology": Path("none.obo")}, "no ontology file none.obo"),
        ({"label_column": "kind", "ontology": "obo"}, "is a term of cl.obo"),
    ],
)
def test_options_and_labels_are_checked_first(
    cells: Path, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    if change.get("ontology") == "obo":
        (tmp_path / "cl.obo").write_text(OBO)
        change = {**change, "ontology": tmp_path / "cl.obo"}
    output = change.get("output", tmp_path / "int8")
    more = {name: value for name, value in change.items() if name not in ("output", "cells")}
    assert problem in str(refused(change.get("cells", cells), output, **more).value)
    assert not output.exists()


@pytest.mark.usefixtures("nothing_runs", "nothing_hashed")
def test_too_few_cells_are_told_with_the_least_number(tmp_path: Path) -> None:
    few = make_cells(tmp_path / "few.h5ad", 7)
    caught = refused(few, tmp_path / "int8")
    assert "7 cells are too few" in str(caught.value)
    assert "at least 8" in caught.value.hint


@pytest.mark.usefixtures("nothing_runs", "nothing_hashed")
def test_the_source_is_not_replaced(cells: Path) -> None:
    caught = refused(cells, BUNDLES["mlp"], force=True)
    assert "holds the bundle that is to be calibrated" in str(caught.value)


@pytest.mark.usefixtures("nothing_runs")
def test_cells_without_genes_are_refused_before_engines_open(cells: Path, tmp_path: Path) -> None:
    adata = anndata.read_h5ad(cells)
    adata.X.data[adata.X.indptr[3] :] = 0
    adata.write_h5ad(cells)
    caught = refused(cells, tmp_path / "int8", cells_count=8, label_column="kind")
    assert "cells can be described" in str(caught.value)


def test_a_bundle_that_only_answers_is_refused(cells: Path, tmp_path: Path) -> None:
    """It would be judged by answers to an empty question."""
    bundle = open_bundle(asking_bundle(tmp_path / "asks"))
    with pytest.raises(TaskError, match="cannot describe"):
        calibrate_bundle(bundle, CalibrateOptions(cells=cells, output=tmp_path / "int8"))
    with pytest.raises(TaskError, match="cannot describe"):
        evaluate_bundle(bundle, EvaluateOptions(cells=cells))
