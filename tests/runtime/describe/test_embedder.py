"""Vectors of cells, searching and comparing labels: PyTorch's numbers, errors where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_libraries import needs_anndata
from tiny_data import JOINT, joint_bundle, joint_cells, joint_texts, tiny_bundle
from tolerance import FLOAT32, worst_difference

import c2t
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.embedder import Embedder, EmbedOptions, joined_vectors
from c2t.runtime.describe.embedding import embedding_of
from c2t.runtime.describe.joint_annotator import JointAnnotator
from c2t.runtime.describe.searcher import Searcher, joined_scores
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.open import open_encoder
from c2t.runtime.system.errors import C2TError, EngineError, TaskError

ERRORS = {3: "cell is empty"}


def cells(*, broken: bool = False) -> EncodedCells:
    found = EncodedCells.of_tokens(joint_cells()[0])
    return found.with_errors(ERRORS) if broken else found


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("threads", [1, 3])
def test_joint_vectors_are_those_of_pytorch(batch: int, threads: int) -> None:
    embedder = Embedder(joint_bundle(), EmbedOptions(batch_size=batch, threads=threads))
    found = joined_vectors(embedder.embed([cells()[:5], cells()[5:]]), embedder)
    assert found.joint is not None
    assert worst_difference(found.joint, joint_cells()[1]) < FLOAT32
    assert list(found.ids) == list(cells().ids)
    assert found.errors == [None] * len(found)


def test_a_bad_cell_costs_no_other() -> None:
    embedder = Embedder(joint_bundle())
    found = joined_vectors(embedder.embed([cells(broken=True)]), embedder)
    good = [place for place in range(len(found)) if place not in ERRORS]
    assert found.joint is not None
    assert np.isnan(found.joint[3]).all()
    assert np.isnan(found.embedding[3]).all()
    assert worst_difference(found.joint[good], joint_cells()[1][good]) < FLOAT32
    assert found.errors[3] == "cell is empty"
    too_long = EncodedCells.of_tokens([[2, *range(4, 60), 3], [2, 999, 3]])
    assert joined_vectors(embedder.embed([too_long]), embedder).errors == [
        "cell has 58 gene tokens; the encoder takes 48",
        "gene token 999 is not among the encoder's 64",
    ]


def test_a_bundle_with_a_decoder_gives_its_encoders_vectors() -> None:
    bundle = tiny_bundle().bundle
    embedder = Embedder(bundle)
    found = joined_vectors(embedder.embed([cells()]), embedder)
    assert found.joint is None
    encoder, _ = open_encoder(bundle, EngineOptions())
    for tokens, vector in zip(joint_cells()[0], found.embedding, strict=True):
        _, hidden = encoder.encode_with_hidden(tokens[None])
        expected = embedding_of(tokens, hidden[0], bundle.manifest.gene_input)
        assert worst_difference(vector, expected) < FLOAT32


def test_no_cells_give_no_vectors_and_other_sizes_are_refused() -> None:
    embedder = Embedder(joint_bundle())
    none = joined_vectors(embedder.embed([]), embedder)
    assert none.embedding.shape == (0, 16)
    assert none.joint is not None
    assert none.joint.shape == (0, 20)
    with pytest.raises(C2TError, match="batch_size is 0"):
        Embedder(joint_bundle(), EmbedOptions(batch_size=0))


def test_an_engine_that_never_works_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(joint_bundle(), EmbedOptions(threads=1))

    def fail(tokens: object) -> None:
        problem = "out of memory"
        raise EngineError(problem, hint="")

    monkeypatch.setattr(embedder._first, "encode_with_hidden", fail)
    with pytest.raises(EngineError, match="no cell could be embedded: out of memory"):
        list(embedder.embed([cells()]))


def expected_scores() -> np.ndarray:
    temperature = joint_bundle().manifest.space.temperature
    return np.exp(temperature) * joint_cells()[1].astype(np.float64) @ joint_texts()[1].T


def test_search_scores_cells_and_orders_them() -> None:
    texts = joint_texts()[0]
    searcher = Searcher(joint_bundle(), texts, Embedder(joint_bundle()))
    found = joined_scores(searcher.search([cells(broken=True)]), texts)
    good = [place for place in range(len(found)) if place not in ERRORS]
    assert worst_difference(found.scores[good], expected_scores()[good]) < FLOAT32
    assert np.isnan(found.scores[3]).all()
    best = found.best(1, 5)
    assert 3 not in best
    order = sorted(good, key=lambda place: -found.scores[place, 1])
    assert best == order[:5]
    assert len(found.best(0, 100)) == len(good)


def test_search_refuses_repeated_texts_and_bundles_without_a_space() -> None:
    embedder = Embedder(joint_bundle())
    with pytest.raises(C2TError, match="'a cell' is there twice"):
        Searcher(joint_bundle(), ["a cell", "B cell", "a cell"], embedder)
    with pytest.raises(C2TError, match="the texts are one string: 'T cell'") as caught:
        Searcher(joint_bundle(), "T cell", embedder)
    assert caught.value.hint == "give a list, also of one text: ['T cell']"
    with pytest.raises(C2TError, match="a text is 5, which is no text"):
        Searcher(joint_bundle(), ["T cell", 5], embedder)
    with pytest.raises(C2TError, match="the labels are one string: 'T cell'"):
        JointAnnotator(joint_bundle(), "T cell", embedder)
    with pytest.raises(TaskError, match=r"\(cell2text\) cannot search"):
        Searcher(tiny_bundle().bundle, ["a cell"], embedder)


def test_labels_are_compared_by_the_softmax_of_scores() -> None:
    texts = joint_texts()[0]
    annotator = JointAnnotator(joint_bundle(), texts, Embedder(joint_bundle()))
    found = list(annotator.annotate([cells(broken=True)]))
    scores = expected_scores()
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    for place, cell in enumerate(found):
        if place in ERRORS:
            assert (cell.error, cell.label) == (ERRORS[place], None)
            continue
        assert cell.probabilities is not None
        assert worst_difference(cell.probabilities, shares[place]) < FLOAT32
        assert cell.mass == pytest.approx(1)


def test_a_template_puts_labels_into_a_sentence() -> None:
    embedder = Embedder(joint_bundle())
    labels = ["T", "B"]
    inside = JointAnnotator(joint_bundle(), labels, embedder, template="a {label} cell")
    written = JointAnnotator(joint_bundle(), ["a T cell", "a B cell"], embedder)
    pairs = zip(inside.annotate([cells()]), written.annotate([cells()]), strict=True)
    assert all((one.probabilities == other.probabilities).all() for one, other in pairs)
    for template, words in (("a cell", "the template"), ("{label}" + "x" * 3000, "the template")):
        with pytest.raises(C2TError, match=words):
            JointAnnotator(joint_bundle(), labels, embedder, template=template)
    for wrong in ({"labels": ["T", "T"]}, {"labels": labels, "temperature": 0.0}):
        with pytest.raises(C2TError):
            JointAnnotator(joint_bundle(), embedder=embedder, **wrong)


def test_model_embeds_searches_and_annotates(tmp_path: Path) -> None:
    from cli_process import make_cells

    path = make_cells(tmp_path / "cells.h5ad", 12)
    texts = joint_texts()[0]
    with c2t.open(JOINT) as model:
        vectors = model.embed(path)
        found = model.search(path, texts)
        labelled = list(model.annotate(path, texts, label_template="{label}"))
        assert model.embedder() is model.embedder()
    assert vectors.joint is not None
    assert [error is not None for error in vectors.errors] == [n in (3, 5) for n in range(12)]
    scores = np.exp(1.5) * vectors.joint.astype(np.float64) @ joint_texts()[1].T
    good = ~np.isnan(scores[:, 0])
    assert worst_difference(found.scores[good], scores[good]) < FLOAT32
    assert [cell.best for cell in labelled] == [
        int(own.argmax()) if fine else None for own, fine in zip(scores, good, strict=True)
    ]
    with pytest.raises(EngineError, match="is closed"):
        model.embed(path)


def test_a_decoder_takes_no_template() -> None:
    with (
        c2t.open(tiny_bundle().bundle.path) as model,
        pytest.raises(C2TError, match="a template of labels is for a joint space"),
    ):
        model.annotator(["T cell"], label_template="{label}")


@needs_anndata
def test_an_anndata_object_gets_labels_of_the_joint_space() -> None:
    scverse = pytest.importorskip("c2t.runtime.scverse.tl")
    from cli_process import random_cells

    adata = random_cells(8)
    labels = ["T cell", "B cell"]
    with c2t.open(JOINT) as model:
        with pytest.warns(UserWarning, match="have an error|cells"):
            scverse.annotate(adata, model, labels)
        expected = [cell.label for cell in model.annotate(adata, labels)]
    found = [None if label != label else label for label in adata.obs["c2t_label"]]
    assert found == expected
