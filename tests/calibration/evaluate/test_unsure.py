"""Labels named otherwise, and rules for unsure cells, from the command to the new bundle."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
from cli_process import random_cells
from tiny_bundle import make_bundle
from unsure_rules import make_rule

from c2t.calibration.evaluate.unsure_bundle import (
    check_copy_target,
    write_rule,
    write_with_rule,
)
from c2t.calibration.evaluate.unsure_fit import fit_unsure
from c2t.calibration.results.evaluation import CellRecord
from c2t.cli import app
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME, read_rule
from c2t.runtime.describe.describer import Describer
from c2t.runtime.system.errors import OutputError

CELLS = 200
OWN = ("NK", "Mono one")
SAID = {"NK": "natural killer cell", "Mono one": "CD14-positive monocyte"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    folder.mkdir()
    return make_bundle(folder).bundle.path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    adata = random_cells(CELLS)
    adata.obs["cell_type"] = [OWN[i % 2] for i in range(CELLS)]
    adata.write_h5ad(path)
    return path


@pytest.fixture(autouse=True)
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights name nothing: words are put into the model's mouth, surer ones more right."""
    plain = Describer.describe

    def describe(self, cells, **more):
        rng = np.random.default_rng(0)
        for number, description in enumerate(plain(self, cells, **more)):
            own = OWN[number % 2]
            sure = float(rng.uniform(0.4, 1.0))
            right = rng.uniform() < sure
            name = SAID[own] if right else SAID[OWN[1 - number % 2]]
            text = f"This sample consists of a {name}, well. It is."
            yield replace(
                description,
                text=None if description.text is None else text,
                cell_type_confidence=None if description.text is None else 0.5 + sure / 2,
            )

    monkeypatch.setattr(Describer, "describe", describe)


@pytest.fixture
def call(bundle: Path, labelled: Path, capfd: pytest.CaptureFixture[str]):
    def run(*more, source: Path = bundle):
        known = ("evaluate", source, labelled, "--threads", 1, "--max-new-tokens", 4)
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            app(args=[str(word) for word in (*known, *more)], prog_name="c2t")
        return caught.value.code, *capfd.readouterr()

    return run


def accuracy(folder: Path) -> float:
    figures = json.loads((folder / "evaluation.json").read_text())
    return figures["judged"]["fields"]["cell_type"]["accuracy"]["value"]


def test_a_proposal_is_written_and_changes_no_figure(call, tmp_path: Path) -> None:
    proposed, plain, mapped = tmp_path / "map.tsv", tmp_path / "plain", tmp_path / "mapped"
    code, _, said = call("-o", plain, "--propose-label-map", proposed)
    assert code == 0, said
    assert accuracy(plain) == 0.0
    assert "under a proposed map the accuracy would be" in said
    assert f"wrote {proposed}" in said
    page = (plain / "evaluation.html").read_text()
    assert "Labels that the texts may name otherwise" in page
    assert "No figure of this page rests on the proposal" in page
    assert "How far the confidence" not in page  # against such labels it says nothing
    lines = [line.split("\t") for line in proposed.read_text().splitlines()]
    assert [line[:2] for line in lines[1:]] == [
        ["Mono one", "CD14-positive monocyte"],
        ["NK", "natural killer cell"],
    ]
    assert [line[4] for line in lines[1:]] == ["assignment", "a short form"]

    code, out, said = call("-o", mapped, "--label-map", proposed)
    assert code == 0, said
    assert accuracy(mapped) > 0.4
    assert "rest on the label map map.tsv" in said
    assert "assigned on counts" in said
    assert "calibration error (ECE)" in out
    page = (mapped / "evaluation.html").read_text()
    assert "How far the confidence of the cell type can be trusted" in page
    assert "Labels that the texts may name otherwise" not in page
    figures = json.loads((plain / "evaluation.json").read_text())["proposal"]
    assert figures["accuracy"] == pytest.approx(accuracy(mapped))


def test_maps_with_slips_are_refused_before_the_work(call, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Describer, "__init__", lambda *_, **__: pytest.fail("opened an engine"))
    path = tmp_path / "map.csv"
    for text, problem in (
        ("label,name\nNK,x\nT,y\n", "no cell has the label `T` of the label map in 'cell_type'"),
        ("label,name\nNK,x\nNK,y\n", "has the label 'NK' again"),
        ("label,name\n", "names no label"),
    ):
        path.write_text(text)
        code, out, said = call("--label-map", path)
        assert (code, out) == (1, "")
        error, hint = said.splitlines()[-2:]
        assert error.startswith("error: ")
        assert problem in error
        assert hint.startswith("hint: ")
    for more, problem in (
        (("--propose-label-map", path), "exists already"),
        (("--propose-label-map", tmp_path / "x.json"), "is a table"),
        (("--fit-unsure", tmp_path), "exists already"),
        (("--fit-unsure", tmp_path / "new", "--limit", 50), "50 labelled cells are too few"),
        (("--label-column", "kind", "--fit-unsure", tmp_path / "new"), "no column 'kind'"),
    ):
        code, out, said = call(*more)
        assert (code, out) == (1, ""), more
        assert problem in said.splitlines()[-2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.csv"]


def test_a_map_and_a_proposal_without_it_are_refused(call, tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("label,name\nNK,natural killer cell\n")
    code, out, said = call("--label-map", path, "--propose-label-map", tmp_path / "new.tsv")
    assert (code, out) == (2, "")
    error, hint = said.splitlines()[-2:]
    assert "--label-map" in error
    assert "--propose-label-map" in error
    assert hint == "hint: leave one of them out"
    assert [path.name for path in tmp_path.iterdir()] == ["map.csv"]


def test_a_map_for_all_cells_is_good_for_some(call, tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("label,name\nNK,natural killer cell\nMono one,CD14-positive monocyte\n")
    assert call("--label-map", path, "--limit", 1)[0] == 0


def test_a_rule_is_fitted_into_a_new_bundle(call, bundle, labelled, tmp_path: Path) -> None:
    path, new = tmp_path / "map.csv", tmp_path / "new"
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    code, _, said = call("--fit-unsure", new)
    assert code == 1
    assert "198 of 198 cells have a label that no text names" in said.splitlines()[-2]
    assert "--label-map" in said.splitlines()[-1]
    assert not new.exists()

    path.write_text("label,name\nNK,natural killer cell\nMono one,CD14-positive monocyte\n")
    code, _, said = call("--label-map", path, "--fit-unsure", new, "--unsure-target", 80)
    assert code == 0, said
    stated = open_bundle(new)
    rule = stated.unsure_rule
    assert rule is not None
    assert 0.5 < rule.threshold < 0.9
    assert rule.target == 0.8
    assert rule.answered_right == pytest.approx(0.8, abs=0.12)
    assert rule.ece_after < rule.ece_before
    (file,) = rule.fitted_on
    assert (file.file, file.label_column) == ("cells.h5ad", "cell_type")
    assert file.cells == rule.cells <= CELLS
    assert re.fullmatch("[0-9a-f]{64}", str(file.label_map))
    assert rule.bundle == open_bundle(bundle).digest != stated.digest
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before
    assert {p.name for p in new.iterdir()} == {*before, UNSURE_NAME}

    code, _, said = call(
        "--label-map", path, "--fit-unsure", tmp_path / "b", "--unsure-target", 100
    )
    assert code == 1
    assert "no threshold makes 100 %" in said.splitlines()[-2]
    assert not (tmp_path / "b").exists()


def test_a_stated_rule_is_judged_with_the_texts(call, bundle, tmp_path, monkeypatch) -> None:
    source = open_bundle(bundle)
    write_with_rule(source, tmp_path / "stating", make_rule(threshold=0.45))
    path = tmp_path / "map.csv"
    path.write_text("label,name\nNK,natural killer cell\nMono one,CD14-positive monocyte\n")
    plain = Describer.describe

    def marked(self, cells, **more):
        for d in plain(self, cells, **more):
            if self._mark is not None:
                of = d.cell_type_confidence
                marks = {
                    "cell_type_probability": self._mark.probability(of),
                    "unsure": self._mark.is_unsure(of),
                }
                d = replace(d, **marks)
            yield d

    monkeypatch.setattr(Describer, "describe", marked)
    report = tmp_path / "report"
    code, out, said = call("--label-map", path, "-o", report, source=tmp_path / "stating")
    assert code == 0, said
    assert "cells that are not unsure" in out
    found = json.loads((report / "evaluation.json").read_text())["judged"]["certainty"]
    assert found["stated"]
    assert found["after"]["of"] == "probability that the bundle states"
    assert found["answers"]["answered_right"] > found["answers"]["unsure_right"]
    lines = [json.loads(line) for line in (report / "cells.jsonl").read_text().splitlines()]
    known = [line for line in lines if line["cell_type_confidence"] is not None]
    for line in known:
        assert line["cell_type_probability"] == pytest.approx(line["cell_type_confidence"] / 2)
        assert line["unsure"] == (line["cell_type_probability"] < 0.45)


def test_a_signature_is_not_copied_and_the_old_one_stays_good(bundle, tmp_path, call) -> None:
    pytest.importorskip("cryptography")
    from key_pairs import new_keys

    pair = new_keys(tmp_path)
    signed = tmp_path / "signed"
    write_with_rule(open_bundle(bundle), signed, make_rule())
    with pytest.raises(SystemExit) as caught:
        app(args=["sign", str(signed), "--key", str(pair.private)], prog_name="c2t")
    assert caught.value.code in (0, None)
    path = tmp_path / "map.csv"
    path.write_text("label,name\nNK,natural killer cell\nMono one,CD14-positive monocyte\n")
    new = tmp_path / "new"
    more = ("--label-map", path, "--fit-unsure", new, "--unsure-target", 75)
    code, _, said = call(*more, "--trust", pair.public, source=signed)
    assert code == 0, said
    assert "it is not signed as the old one is: use `c2t sign`" in said
    assert not (new / "model.sig").exists()
    assert open_bundle(signed, trust=pair.public).unsure_rule == make_rule()
    assert open_bundle(new).unsure_rule != make_rule()


def test_a_bundle_is_not_changed_in_place(bundle: Path, tmp_path: Path) -> None:
    source = open_bundle(bundle)
    with pytest.raises(OutputError, match="is not changed in place"):
        check_copy_target(source, bundle, force=True)
    link = tmp_path / "link"
    link.symlink_to(bundle)
    with pytest.raises(OutputError, match="is not changed in place"):
        check_copy_target(source, link, force=True)


@pytest.mark.parametrize("seed", range(6))
def test_rules_of_saturated_confidences_can_be_read(bundle: Path, tmp_path: Path, seed) -> None:
    """Confidences near 1 that differ in the seventh digit, as trained models have them."""
    rng = np.random.default_rng(seed)
    confidence = 1 - rng.uniform(size=2000) ** 3 * 3e-6
    shares = np.clip(0.2 + (confidence - 1 + 3e-6) / 3.75e-6, 0, 1)
    cells = [
        CellRecord(
            cell=str(number),
            text="A text.",
            error=None,
            true={"cell_type": "B cell"},
            said={"cell_type": "B cell" if rng.uniform() < share else "T cell"},
            similarity={},
            cell_type_confidence=float(sure),
        )
        for number, (sure, share) in enumerate(zip(confidence, shares, strict=True))
    ]
    opened = open_bundle(bundle)
    rule = fit_unsure(opened, cells, [], target=0.9, generation={})
    assert rule.method == "isotonic"
    write_rule(tmp_path, rule)
    assert read_rule(tmp_path / UNSURE_NAME) == rule
    # The threshold still divides the cells as it was fitted.
    answered = np.array([rule.probability_of(float(x)) >= rule.threshold for x in confidence])
    right = np.array([cell.said["cell_type"] == "B cell" for cell in cells])
    assert 0 < answered.sum() < len(answered)
    assert right[answered].mean() >= 0.9


def test_anndata_reads_what_the_command_reads(labelled: Path) -> None:
    assert anndata.read_h5ad(labelled).obs["cell_type"].nunique() == len(OWN)
