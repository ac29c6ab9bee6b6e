"""The whole calibration of a tiny bundle: what it writes, refuses and leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace

import anndata
import msgspec
import numpy as np
import pytest
from cli_process import make_cells, set_golden
from read_page import Page
from tiny_bundle import make_bundle
from tiny_models import tiny_cell
from unsure_rules import bundle_with, make_rule

from c2t.calibration import calibrate
from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.quality_gate import QualityGate
from c2t.calibration.evaluate.unsure_fit import fit_unsure
from c2t.calibration.results.gate import Tolerance
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.system.errors import CalibrationError, EvaluationError, OutputError

# Random weights have no certain choices: agreement of their texts says nothing.
ANYTHING = Tolerance(accuracy=1, similarity=1, agreement=0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    folder.mkdir()
    tiny = make_bundle(folder)
    tokens = tiny_cell(12).tolist()
    ids = tiny.reference(tokens, tiny.bundle.manifest.generation)
    text = tiny.loaded.tokenizer.decode(ids, skip_special_tokens=True)
    set_golden(folder, [{"gene_tokens": tokens, "token_ids": ids, "text": text}])
    return open_bundle(folder)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 40)


def options(cells, output, **more) -> CalibrateOptions:
    usual = {"cells_count": 12, "gate_cells": 8, "tolerance": ANYTHING, "threads": 1}
    return CalibrateOptions(cells=cells, output=output, **{**usual, **more})


@pytest.fixture(scope="module")
def calibrated(bundle, cells, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "int8"
    said = []
    report = calibrate_bundle(bundle, options(cells, output), report=said.append)
    return open_bundle(output), report, said


def test_the_bundle_is_whole_and_says_what_it_is(bundle, calibrated):
    found, report, _ = calibrated  # opened with every hash compared
    assert found.manifest.precision == "int8"
    assert {"calibration.json", "calibration.html"} <= set(found.manifest.files)
    assert verify_golden_cells(found).differences == ()
    written = json.loads(found.file("calibration.json").read_text())
    assert written["seed"] == 0
    assert written["source_sha256"] == bundle.digest
    assert len(written["cells"]) == 12
    assert len(written["gate_cells"]) == 8
    assert not set(written["cells"]) & set(written["gate_cells"])
    assert written["chosen"].startswith("spread over ")
    assert [a["left_out"] for a in written["attempts"]] == [0]
    assert {s["product"] for s in written["sensitivity"]} >= {"layers.0.mlp.down", "output"}
    # The file keeps the words of its first version.
    assert {"products", "sensitivity", "left_out", "attempts", "kernels"} <= set(written)
    assert {p["product"] for p in written["products"]} == {
        s["product"] for s in written["sensitivity"]
    }
    # Of a small model, every linear's own effect is measured.
    assert all(s["kl"] >= 0 for s in written["sensitivity"])
    assert any(s["kl"] > 0 for s in written["sensitivity"])
    assert all(not kernels["float32"] for kernels in written["kernels"])
    assert report.bytes < report.source_bytes
    page = Page(found.file("calibration.html").read_text())
    assert "script" not in page.elements
    assert page.addresses == []
    # Without labels too, both texts stand side by side.
    assert len(written["examples"]) == 8
    for example in written["examples"]:
        assert example["cell"] in page.words


def test_the_same_text_whatever_the_batch(calibrated, cells):
    found, _, _ = calibrated
    texts = []
    for batch in (1, 3, 16):
        describer = Describer(found, DescribeOptions(threads=1, batch_size=batch))
        with open_cells(cells, found) as reader:
            texts.append([d.tokens for d in describer.describe(reader)])
    assert texts[0] == texts[1] == texts[2]
    assert sum(map(bool, texts[0])) == 38  # one cell is empty, one has a NaN


def test_a_second_calibration_is_the_same(bundle, calibrated, cells, tmp_path):
    first, _, _ = calibrated
    calibrate_bundle(bundle, options(cells, tmp_path / "again"))
    again = open_bundle(tmp_path / "again")
    for name in ("decoder.onnx", "decoder.onnx.data", "encoder.onnx.data", "golden.json"):
        assert again.manifest.files[name] == first.manifest.files[name]


def test_a_calibration_can_be_repeated_byte_for_byte(bundle, cells, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    digests = set()
    for name in ("one", "two"):
        asked = options(cells, tmp_path / name, cells_count=6, gate_cells=4)
        calibrate_bundle(bundle, asked)
        digests.add(open_bundle(tmp_path / name).manifest.files["calibration.json"].sha256)
        digests.add(open_bundle(tmp_path / name).digest)
    assert len(digests) == 2


@pytest.mark.parametrize("precision", [Precision.int8_weights, Precision.int4_weights])
def test_weight_only_bundles_describe(bundle, cells, tmp_path, precision):
    report = calibrate_bundle(bundle, options(cells, tmp_path / "w", precision=precision))
    found = open_bundle(tmp_path / "w")
    assert found.manifest.precision == precision.value
    assert {k for r in report.kernels for k in r.kernels.values()} == {"MatMulNBits"}
    with open_cells(cells, found) as reader:
        assert sum(d.error is None for d in Describer(found).describe(reader)) == 38


def test_a_bundle_that_fails_the_gate_is_not_written(bundle, cells, tmp_path):
    strict = Tolerance(agreement=1.1)
    with pytest.raises(CalibrationError, match="does not pass the gate: token agreement is"):
        calibrate_bundle(bundle, options(cells, tmp_path / "no", tolerance=strict))
    assert list(tmp_path.iterdir()) == []


def test_forced_past_the_gate(bundle, cells, tmp_path):
    strict = Tolerance(agreement=1.1)
    asked = options(cells, tmp_path / "yes", tolerance=strict, force_gate=True)
    report = calibrate_bundle(bundle, replace(asked, divergence_linears=0))
    assert open_bundle(tmp_path / "yes").manifest.precision == "int8"
    assert all(attempt.failures for attempt in report.attempts)
    # More and more linears were left out before it gave up.
    tried = [attempt.left_out for attempt in report.attempts]
    assert tried == sorted(tried)
    assert tried[-1] == len(report.linears) // 2


def test_as_few_as_pass_are_left_out(bundle, cells, tmp_path, monkeypatch):
    original, calls = QualityGate.judge, []

    def fail_twice(*arguments, **more):
        calls.append(1)
        result = original(*arguments, **more)
        return replace(result, failures=("no",) if len(calls) < 3 else ())

    monkeypatch.setattr(QualityGate, "judge", fail_twice)
    report = calibrate_bundle(bundle, options(cells, tmp_path / "two"))
    assert [a.left_out for a in report.attempts] == [0, 1, 2]
    assert report.left_out == tuple(f"{s.graph} {s.linear}" for s in report.sensitivity[:2])
    ran = [name for kernels in report.kernels for name in kernels.kernels]
    assert len(ran) == len(report.linears) - 2


def test_an_int8_bundle_is_refused(calibrated, cells, tmp_path):
    found, _, _ = calibrated
    with pytest.raises(CalibrationError, match="a bundle of precision int8 already"):
        calibrate_bundle(found, options(cells, tmp_path / "x"))


def test_a_missing_label_column_is_refused(bundle, cells, tmp_path):
    with pytest.raises(CalibrationError, match="no column 'kind' of cell types"):
        calibrate_bundle(bundle, options(cells, tmp_path / "x", label_column="kind"))


def test_labels_are_looked_at_first(bundle, cells, tmp_path):
    labelled = anndata.read_h5ad(cells)
    labelled.obs["kind"] = "unknown"
    labelled.write_h5ad(tmp_path / "labelled.h5ad")
    asked = options(tmp_path / "labelled.h5ad", tmp_path / "x", label_column="kind")
    said = []
    with pytest.raises(EvaluationError, match="has a label in obs"):
        calibrate_bundle(bundle, asked, report=said.append)
    assert not any("calibrating" in line for line in said)


def test_an_existing_folder_is_refused_first(bundle, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        calibrate_bundle(bundle, options(tmp_path / "none.h5ad", tmp_path / "full"))


def test_few_cells_are_shared_out(bundle, tmp_path):
    path = make_cells(tmp_path / "few.h5ad", 12)
    said = []
    report = calibrate_bundle(
        bundle,
        options(path, tmp_path / "few", cells_count=256, gate_cells=256, divergence_linears=0),
        report=said.append,
    )
    assert "512 cells wanted, the file has 12" in report.reduced
    assert any(line.startswith("warning: 512 cells wanted") for line in said)
    path = make_cells(tmp_path / "fewer.h5ad", 5)
    with pytest.raises(CalibrationError, match="5 cells are too few"):
        calibrate_bundle(bundle, options(path, tmp_path / "fewer"))


def test_labels_are_taken_in_turn(bundle, cells, tmp_path):
    labelled = anndata.read_h5ad(cells)
    labelled.obs["kind"] = np.where(np.arange(40) % 10 == 9, "rare", "common")
    labelled.write_h5ad(tmp_path / "labelled.h5ad")
    asked = options(
        tmp_path / "labelled.h5ad", tmp_path / "int8", label_column="kind", divergence_linears=0
    )
    report = calibrate_bundle(bundle, asked)
    assert report.chosen == "2 labels in turn"
    found = open_bundle(tmp_path / "int8")
    assert not {"evaluation.json", "evaluation.html", "cells.jsonl"} & set(found.manifest.files)
    # One report: figures by label, pictures and texts are in it.
    assert report.evaluation.judged.fields["cell_type"].cells == 8
    page = Page(found.file("calibration.html").read_text())
    assert "true: common" in page.words
    # Figures, a field's two charts, and the sensitivity of linears.
    assert page.elements.count("svg") >= 4


def test_a_float32_rule_is_left_behind(bundle, cells, tmp_path):
    """To quantise changes how sure a model is; and nothing is fitted without labels."""
    stating = open_bundle(bundle_with(make_rule(), bundle.path, tmp_path / "stating"))
    said = []
    calibrate_bundle(stating, options(cells, tmp_path / "int8"), report=said.append)
    done = open_bundle(tmp_path / "int8")
    assert done.unsure_rule is None
    assert any("states no threshold for unsure cells: there are no labels" in line for line in said)


def test_held_out_labels_give_the_bundle_a_rule(bundle, tmp_path, monkeypatch):
    plain = Describer.describe

    def describe(self, chunks, **more):
        rng = np.random.default_rng(0)
        for description in plain(self, chunks, **more):
            sure = float(rng.uniform(0.4, 1))
            name = "B cell" if rng.uniform() < sure else "T cell"
            if description.text is not None:
                text = f"This sample consists of a {name}, well."
                description = replace(description, text=text, cell_type_confidence=sure)
            yield description

    path = make_cells(tmp_path / "labelled.h5ad", 150)
    adata = anndata.read_h5ad(path)
    adata.obs["cell_type"] = ["B cell"] * len(adata)
    adata.write_h5ad(path)
    monkeypatch.setattr(Describer, "describe", describe)
    wanted = options(path, tmp_path / "int8", gate_cells=120, unsure_target=0.8)
    report = calibrate_bundle(bundle, wanted)
    monkeypatch.undo()
    done = open_bundle(tmp_path / "int8")
    rule = done.unsure_rule
    assert rule is not None
    assert rule == report.unsure
    assert rule.target == 0.8
    assert "held out for the gate" in rule.fitted_on[0].which
    assert rule.cells == rule.fitted_on[0].cells <= 120

    # What goes wrong with a rule never costs the bundle: one that cannot be read, or no fit.
    def damaged(*args, **more):
        return msgspec.structs.replace(fit_unsure(*args, **more), confidence=(0.5, 0.5))

    def no_fit(*args, **more):
        raise np.linalg.LinAlgError

    for name, fit in (("damaged", damaged), ("none", no_fit)):
        monkeypatch.setattr(calibrate, "fit_unsure", fit)
        monkeypatch.setattr(Describer, "describe", describe)
        said = []
        wanted = options(path, tmp_path / name, gate_cells=120, unsure_target=0.8)
        assert calibrate_bundle(bundle, wanted, report=said.append).unsure is None
        monkeypatch.undo()
        assert open_bundle(tmp_path / name).unsure_rule is None
        assert not (tmp_path / name / UNSURE_NAME).exists()
        assert any("states no threshold for unsure cells: " in line for line in said)
    few = options(path, tmp_path / "few", gate_cells=20, cells_count=20)
    monkeypatch.setattr(Describer, "describe", describe)
    said = []
    calibrate_bundle(bundle, few, report=said.append)
    assert open_bundle(tmp_path / "few").unsure_rule is None
    assert any("too few to fit on" in line for line in said)
