"""Bundles that answer questions are calibrated and evaluated by their answers to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import pytest
from ask_bundles import sentence_bundle, vector_bundle
from cli_process import make_cells

from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.results.gate import Tolerance
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.asked_bundle import asked_bundle
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.system.errors import C2TError, TaskError

QUESTION = "Which type of cell is this?"
ANYTHING = Tolerance(accuracy=1, similarity=1, agreement=0)


Make = Callable[[Path], Path]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[Make, Path]:
    """By kind of bundle: gene sentences take names, an encoder takes ids."""
    place = tmp_path_factory.mktemp("cells")
    ids = make_cells(place / "ids.h5ad", 24)
    named = anndata.read_h5ad(ids)
    named.var_names = [f"GENE{number}" for number in range(named.n_vars)]
    named.obs["cell_type"] = ["B cell", "T cell"] * 12
    named.write_h5ad(place / "names.h5ad")
    return {vector_bundle: ids, sentence_bundle: place / "names.h5ad"}


def texts(bundle: Bundle, cells: Path) -> list[str | None]:
    with open_cells(cells, bundle) as reader:
        describer = Describer(bundle, DescribeOptions(threads=1, max_new_tokens=6))
        return [description.text for description in describer.describe(reader)]


@pytest.mark.parametrize("make", [sentence_bundle, vector_bundle])
def test_calibrated_by_answers(make: Make, cells: dict[Make, Path], tmp_path: Path) -> None:
    source = open_bundle(make(tmp_path / "asks"))
    options = CalibrateOptions(
        cells=cells[make],
        output=tmp_path / "int8",
        question=QUESTION,
        cells_count=8,
        gate_cells=6,
        divergence_linears=0,
        tolerance=ANYTHING,
        threads=1,
    )
    report = calibrate_bundle(source, options)
    assert report.question == QUESTION
    assert report.comparison is not None
    assert report.comparison.cells > 0
    bundle = open_bundle(tmp_path / "int8")
    assert (bundle.manifest.tasks, bundle.manifest.question) == (source.manifest.tasks, "")
    assert bundle.manifest.precision == "int8"
    assert not verify_golden_cells(bundle).differences


@pytest.mark.parametrize("make", [sentence_bundle, vector_bundle])
def test_the_question_reaches_the_prompt(
    make: Make, cells: dict[Make, Path], tmp_path: Path
) -> None:
    source = open_bundle(make(tmp_path / "asks"))
    one, other = (texts(asked_bundle(source, q), cells[make]) for q in (QUESTION, "How old is it?"))
    assert any(one)
    assert one != other
    assert source.manifest.tasks[0] == "ask"  # the bundle itself is not another one
    assert texts(asked_bundle(source, QUESTION), cells[make]) == one


def test_evaluated_by_answers(cells: dict[Make, Path], tmp_path: Path) -> None:
    source = asked_bundle(open_bundle(sentence_bundle(tmp_path / "asks")), QUESTION)
    named = cells[sentence_bundle]
    options = EvaluateOptions(cells=named, describing=DescribeOptions(threads=1, max_new_tokens=6))
    evaluation, records = evaluate_bundle(source, options, against=source)
    assert evaluation.comparison is not None
    assert evaluation.comparison.identical_texts.value == 1
    assert [record.text for record in records] == texts(source, named)


def test_refused(tmp_path: Path, cells: dict[Make, Path]) -> None:
    source = open_bundle(sentence_bundle(tmp_path / "asks"))
    options = CalibrateOptions(cells=cells[sentence_bundle], output=tmp_path / "int8")
    with pytest.raises(TaskError, match="answers questions, and none is given") as caught:
        calibrate_bundle(source, options)
    assert "--question" in str(caught.value.hint)
    with pytest.raises(C2TError, match="the question is empty"):
        asked_bundle(source, " ")
    listing = open_bundle(sentence_bundle(tmp_path / "b", "{genes} {question} {labels}"))
    with pytest.raises(C2TError, match="lists labels beside its question"):
        asked_bundle(listing, QUESTION)
    plain = sentence_bundle(tmp_path / "c", "{genes}:", tasks=["describe"])
    with pytest.raises(TaskError, match="cannot ask"):
        asked_bundle(open_bundle(plain), QUESTION)
