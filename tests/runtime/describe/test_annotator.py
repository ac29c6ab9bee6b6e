"""Annotating: log probabilities of labels are exact, and a bad cell costs no other."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_process import make_cells, set_golden
from tiny_data import tiny_cell

import c2t
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.labelled_cell import LabelledCell, among_labels
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.candidate_names import candidate_names
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.scoring import CandidateScorer
from c2t.runtime.system.errors import BundleError, C2TError, EngineError

LABELS = ("T cell", "B cell", "erythrocyte", "T cell, CD4-positive")
NOISE = 1e-4  # of a log probability
ONE = c2t.AnnotateOptions(threads=1, engine="cpu")
SEVERAL = c2t.AnnotateOptions(threads=3, batch_size=2, engine="cpu")


@pytest.fixture
def model(tiny_bundle_folder: Path):
    with c2t.open(tiny_bundle_folder, ONE.describing()) as model:
        yield model


def chunk(count: int = 30) -> EncodedCells:
    tokens = [tiny_cell(6 + seed % 7, seed) for seed in range(count)]
    errors: list[str | None] = [None] * count
    if count > 5:
        tokens[3] = tokens[3][:0]
        errors[5] = "a reason"
    return EncodedCells.of_tokens(tokens, errors=errors)


def one_by_one(model: c2t.Model, cells: EncodedCells) -> np.ndarray:
    """Each label alone, each cell alone."""
    engines = model.describer().engines.clone()
    prompts = bundle_prompts(model.bundle)
    runner = PromptRunner(engines.decoder, prompts.beginning)
    found = []
    for place in range(len(cells)):
        cell = prompts.of_vectors(engines.encoder.encode(cells.tokens[place][None])[0].copy())
        scorer = CandidateScorer(engines.decoder, runner, rows=1)
        alone = [candidate_names(model.bundle, [label]) for label in LABELS]
        scores = [n.combine(scorer.score([cell], n.trie))[0, 0] for n in alone]
        # "T cell" must not hold what "T cell, CD4-positive" has.
        scores[0] += np.log1p(-np.exp(scores[3] - scores[0]))
        found.append(scores)
    return np.array(found)


@pytest.mark.parametrize("options", [ONE, SEVERAL])
def test_equal_to_one_by_one(model: c2t.Model, options: c2t.AnnotateOptions) -> None:
    cells = chunk()
    found = list(model.annotator(LABELS, options).annotate([cells[:7], cells[7:]]))
    assert [cell.cell for cell in found] == [str(number) for number in range(30)]
    assert (found[3].error, found[5].error) == ("cell has no gene tokens", "a reason")
    good = [number for number in range(30) if number not in (3, 5)]
    assert all(found[number].error is None for number in good)
    expected = one_by_one(model, EncodedCells.of_tokens([cells.tokens[n] for n in good]))
    scores = np.array([found[number].log_probabilities for number in good])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=NOISE)


def test_model_annotates_files_and_inherits_its_options(
    model: c2t.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = make_cells(tmp_path / "cells.h5ad", 12)
    with pytest.warns(UserWarning, match="would rather say something else than any of the labels"):
        found = list(model.annotate(cells, LABELS))
    assert [cell.cell for cell in found] == [f"cell{number}" for number in range(12)]
    assert found[3].error == "cell is empty"
    assert (found[3].label, found[3].probability, found[3].mass) == (None, None, None)
    assert found[3].top(3) == []
    assert found[0].genes_used > 10
    with model._reader(cells, None) as reader:
        again = list(model.annotator(LABELS, ONE).annotate(reader))
    for one, other in zip(found, again, strict=True):
        assert one.label == other.label
    assert model.describer(ONE.describing()).engines.settings["threads"] == "1"


def labelled(scores: list[float], temperature: float = 1.0) -> LabelledCell:
    with np.errstate(divide="ignore"):
        logarithms = np.log(scores)
    return LabelledCell(
        cell="a",
        labels=("x", "y", "z"),
        log_probabilities=logarithms,
        temperature=temperature,
        genes_used=3,
    )


def test_share_and_mass() -> None:
    cell = labelled([0.1, 0.3, 0.0])
    assert (cell.label, cell.best, cell.top(2)) == ("y", 1, [1, 0])
    np.testing.assert_allclose(cell.probabilities, [0.25, 0.75, 0.0], atol=1e-12)
    assert cell.mass == pytest.approx(0.4)
    assert cell.probability == pytest.approx(0.75)
    hot = labelled([0.1, 0.3, 0.0], 2.0)
    odds = np.sqrt(3)
    assert hot.probability == pytest.approx(odds / (1 + odds))
    assert hot.mass == cell.mass  # what the model itself gives them
    assert hot.label == cell.label


def test_no_label_can_be() -> None:
    np.testing.assert_allclose(among_labels(np.full((1, 4), -np.inf), 1.0), [[0.25] * 4])


@pytest.mark.parametrize("labels", [[], ["T cell", "T cell"], ["T cell", ""], ["<|eot_id|>"]])
def test_labels_that_cannot_be_compared(model: c2t.Model, labels: list[str]) -> None:
    with pytest.raises(C2TError) as caught:
        model.annotate([], labels).__next__()
    assert caught.value.hint


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_no_temperature(model: c2t.Model, temperature: float) -> None:
    with pytest.raises(C2TError, match="temperature"):
        model.annotator(LABELS, replace(ONE, temperature=temperature))


def test_label_longer_than_the_decoder(model: c2t.Model) -> None:
    with pytest.raises(C2TError, match="positions") as caught:
        model.annotator(["qx" * 120 + str(number) for number in range(2)], ONE)
    assert not isinstance(caught.value, EngineError)  # the engine is well: the labels are wrong


def trained(folder: Path, copy: Path, text: str) -> Path:
    """A copy of a bundle that says to be trained, with one golden text."""
    import shutil

    shutil.copytree(folder, copy)
    path = copy / "manifest.json"
    manifest = parse_manifest(path.read_bytes())
    write_manifest(copy, manifest.replace(origin=replace(manifest.origin, random_weights=False)))
    set_golden(copy, [{"gene_tokens": [2, 5, 3], "token_ids": [7], "text": text}])
    return copy


def test_captions_that_begin_otherwise(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    other = trained(tiny_bundle_folder, tmp_path / "other", "Cell type: T cell.")
    with c2t.open(other) as model, pytest.raises(BundleError, match="do not begin with"):
        model.annotator(LABELS, ONE)
    same = trained(tiny_bundle_folder, tmp_path / "same", "This sample consists of a T cell.")
    with c2t.open(same) as model:
        assert model.annotator(LABELS, ONE).doubts == []  # nothing is known of its captions


def test_broken_decoder_is_an_error_of_the_engine(
    model: c2t.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotator = model.annotator(LABELS, ONE)

    def broken(*_: object) -> None:
        problem = "it broke"
        raise EngineError(problem, hint="none")

    monkeypatch.setattr(CandidateScorer, "score", broken)
    with pytest.raises(EngineError, match="no cell could be annotated: it broke"):
        list(annotator.annotate([chunk(3)]))


def test_one_cell_that_the_engine_cannot_run(
    model: c2t.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotator = model.annotator(LABELS, ONE)
    expected = list(annotator.annotate([chunk(3)]))
    real, bad = CandidateScorer.score, []

    def score(self, vectors, trie):
        bad.append(len(vectors))
        if len(vectors) > 1 or len(bad) == 3:  # the batch, and its second cell
            problem = "it broke"
            raise EngineError(problem, hint="none")
        return real(self, vectors, trie)

    monkeypatch.setattr(CandidateScorer, "score", score)
    found = list(annotator.annotate([chunk(3)]))
    assert [cell.error for cell in found] == [None, "it broke", None]
    np.testing.assert_allclose(
        found[2].log_probabilities, expected[2].log_probabilities, atol=NOISE
    )


def test_no_warning_where_nothing_is_known(model: c2t.Model, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*rather say something else.*")  # about the texts
        list(model.annotate(make_cells(tmp_path / "cells.h5ad", 4), LABELS))
