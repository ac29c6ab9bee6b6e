"""Calibration, evaluation and backends of bundles whose cells are gene sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_sentences import (
    FAMILY_NAMES,
    TYPES,
    genes_of,
    prompt_of,
    sentence_bundle,
    sentence_tokenizer,
    write_sentence_cells,
    write_sentence_model,
)

from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.quantise.integer_kernels import BLOCK_KERNELS, INTEGER_KERNELS
from c2t.calibration.ranges.system_inputs import decoder_inputs
from c2t.calibration.results.calibration import CalibrationReport
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.generation.bundle_prompts import bundle_prompts

COSINES = {Precision.int8: 0.999, Precision.int8_weights: 0.9999, Precision.int4_weights: 0.99}


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp(request.param)
    model = write_sentence_model(place / "model", request.param, trained=True)
    return sentence_bundle(place / "bundle", model)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 24)


def calibrated(
    bundle: Bundle, cells: Path, output: Path, precision: Precision
) -> CalibrationReport:
    options = CalibrateOptions(
        cells=cells,
        output=output,
        precision=precision,
        cells_count=8,
        gate_cells=8,
        divergence_linears=1,
        threads=1,
    )
    return calibrate_bundle(bundle, options)


def logits(bundle: Bundle) -> NDArray[np.float32]:
    """Logits [T, V] along the prompts and answers that the decoder learnt."""
    session = open_session(bundle.file("decoder.onnx"), EngineOptions(threads=1))
    tokenizer, found = sentence_tokenizer(bundle.manifest.name), []
    for number, name in enumerate(TYPES):
        prompt = np.array(tokenizer(prompt_of(genes_of(number)))["input_ids"], np.int32)
        answer = tokenizer(f" {name}.", add_special_tokens=False)["input_ids"]
        inputs = decoder_inputs(bundle, bundle_prompts(bundle).of_tokens(prompt), answer)
        found.append(session.run(["logits"], inputs)[0][0])
    return np.concatenate(found)


@pytest.mark.parametrize("precision", COSINES)
def test_every_product_runs_as_it_should_and_answers_stay(
    tiny: Bundle, cells: Path, tmp_path: Path, precision: Precision
) -> None:
    report = calibrated(tiny, cells, tmp_path / "made", precision)
    (kernels,) = [r.kernels for r in report.kernels]
    allowed = INTEGER_KERNELS if precision is Precision.int8 else BLOCK_KERNELS
    assert set(kernels.values()) <= allowed
    assert len(kernels) == 4 * tiny.manifest.decoder.layers + 1
    assert not report.left_out
    assert report.chosen == "4 labels in turn"
    made = open_bundle(tmp_path / "made")
    assert made.manifest.family == "cell2sentence"
    assert made.manifest.template == tiny.manifest.template
    assert not verify_golden_cells(made, "cpu").differences
    before, after = logits(tiny), logits(made)
    products = (before * after).sum(axis=1)
    cosines = products / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert np.median(cosines) > COSINES[precision]


def test_without_labels_cells_are_spread_by_their_words(tiny: Bundle, tmp_path: Path) -> None:
    cells = write_sentence_cells(tmp_path / "cells.h5ad", 40, labels=False)
    report = calibrated(tiny, cells, tmp_path / "made", Precision.int8_weights)
    assert report.chosen == "spread over 32 random cells, as the model sees them"
    places = {int(name.removeprefix("cell")) % len(TYPES) for name in report.cells}
    assert places == set(range(len(TYPES)))


def test_answers_are_judged_by_labels_and_by_a_map(
    tiny: Bundle, cells: Path, tmp_path: Path
) -> None:
    columns = {"cell_type": "cell_type"}
    found, _ = evaluate_bundle(tiny, EvaluateOptions(cells=cells, columns=columns))
    assert found.judged.fields["cell_type"].accuracy.value == 1.0
    (tmp_path / "map.tsv").write_text("label\tname\nplatelet\tB cell\n")
    options = EvaluateOptions(cells=cells, columns=columns, label_map=tmp_path / "map.tsv")
    found, _ = evaluate_bundle(tiny, options)
    assert found.judged.fields["cell_type"].accuracy.value == 0.75
