"""The search demonstration: its phrases, its committed weights, and what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from c2t.examples.demo.captions import Donor, read_caption_table
from c2t.examples.demo_search import assembling, search_pbmc
from c2t.examples.demo_search.searching import judge, majority_within_sets
from c2t.examples.demo_search.texts import (
    Query,
    TrainingText,
    own_texts,
    read_frames,
    read_queries,
    varied_text,
)
from c2t.export.checkpoint.folder import load_checkpoint_folder
from c2t.export.checkpoint.gene_dictionaries.find import load_genes
from c2t.export.checkpoint.options import CheckpointOptions

MOST_BYTES = 4 << 20
BLOOD = Donor(tissue="blood", disease="normal", sex=None, age=None)


def words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in text.lower().replace(",", " ").split()}


def test_twenty_phrases_that_are_no_training_text() -> None:
    own = own_texts()
    entries = [*own["types"].values(), *own["groups"], *own["origins"]]
    learnt = [words(phrase) for entry in entries for phrase in entry["phrases"]]
    queries = read_queries("test")
    assert len({query.text for query in queries}) == 20
    for query in queries:
        assert words(query.text) not in learnt


def test_phrases_name_types_and_origins_of_the_caption_table() -> None:
    table = read_caption_table()
    origins = {(entry["tissue"], entry["disease"]) for entry in table.sets.values()}
    for query in (*read_queries("test"), *read_queries("choice")):
        assert (query.types is None) != (query.origin is None)
        assert query.types is None or query.types <= table.definitions.keys()
        assert query.origin is None or query.origin in origins


def test_a_text_fits_its_types_and_origin() -> None:
    text = TrainingText(text="t", kind="caption", types=frozenset("ab"), origin=("blood", "normal"))
    assert text.fits("a", BLOOD)
    assert not text.fits("c", BLOOD)
    assert not text.fits("a", Donor(tissue="lung", disease="normal", sex=None, age=None))


def test_a_text_is_varied_but_never_emptied() -> None:
    rng = np.random.default_rng(0)
    texts = {varied_text("one two", read_frames(), drop=0.9, rng=rng) for _ in range(50)}
    assert len(texts) > 5
    assert all("one" in text or "two" in text for text in texts)


@pytest.mark.parametrize(("right", "looked_at", "hits"), [(30, 10, 10), (4, 4, 4)])
def test_as_many_cells_are_looked_at_as_are_right(right: int, looked_at: int, hits: int) -> None:
    query = Query(text="q", types=frozenset(["B cell"]), origin=None)
    names = ["B cell"] * right + ["platelet"] * 20
    scores = np.linspace(1, 0, len(names))
    found = judge(query, scores, query.right(names, [BLOOD] * len(names)), names)
    assert (found.looked_at, found.right_of_these) == (looked_at, hits)
    assert found.majority
    worst = judge(query, -scores, query.right(names, [BLOOD] * len(names)), names)
    assert (worst.majority, worst.any, worst.first) == (False, False, {"platelet": looked_at})
    assert 0 < worst.majority_by_chance < worst.any_by_chance <= 1


def test_half_of_the_cells_are_no_majority() -> None:
    query = Query(text="q", types=frozenset(["B cell"]), origin=None)
    names = ["B cell", "platelet"] * 10
    found = judge(query, -np.arange(20.0), query.right(names, [BLOOD] * 20), names)
    assert (found.right_of_these, found.majority, found.any) == (5, False, True)


def test_chance_within_data_sets() -> None:
    right = np.array([True] * 10 + [False] * 20 + [True] * 5 + [False] * 5)
    sets = np.array(["pure"] * 10 + ["none"] * 20 + ["half"] * 10)
    for name, expected in (("pure", 1.0), ("none", 0.0), ("half", 386 / 1024)):
        # All of the ten best are of this set: whether they are right counts for nothing.
        scores = (sets == name) + np.linspace(0, 0.5, 40)
        assert majority_within_sets(scores, right, sets) == pytest.approx(expected)


def test_the_committed_weights_are_small_and_whole() -> None:
    files = [path for path in assembling.TRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    weights = load_file(assembling.TRAINED / assembling.WEIGHTS)
    assert all(np.isfinite(value).all() for value in weights.values())
    config = json.loads((assembling.TRAINED / assembling.TEXT_MODEL / "config.json").read_text())
    tokenizer = json.loads(
        (assembling.TRAINED / assembling.TEXT_MODEL / "tokenizer.json").read_text()
    )
    rows = weights["model.text_model.embeddings.word_embeddings.weight"].shape
    assert rows == (len(tokenizer["model"]["vocab"]), config["hidden_size"])


def test_the_assembled_checkpoint_has_the_encoder_and_its_genes(tmp_path: Path) -> None:
    made = assembling.assemble(tmp_path)
    checkpoint = load_checkpoint_folder(assembling.DESCRIBING)
    rows = int(checkpoint.model.encoder.config.vocab_size)
    genes, _ = load_genes(CheckpointOptions(geneformer=made.geneformer), vocabulary_size=rows)
    for name in ("ensembl_id", "token", "median", "alias", "alias_gene"):
        assert np.array_equal(getattr(genes, name), getattr(checkpoint.genes, name)), name
    held = load_file(made.checkpoint)
    prefix = assembling.ENCODER_PREFIX
    for name, tensor in checkpoint.model.encoder.state_dict().items():
        if name.startswith("bert."):
            assert np.array_equal(held[f"{prefix}{name}"].astype(np.float32), tensor.numpy())


@pytest.mark.slow
def test_phrases_find_blood_cells_that_training_never_saw(tmp_path: Path) -> None:
    shown = search_pbmc.run_demo(tmp_path / "demo")
    assert "c2t search" in shown
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text())
    found, control = scores["held_out"], scores["control"]
    assert found["queries"] == control["queries"] > 8
    assert found["majority"] >= 0.6
    assert found["precision"] > 2 * control["precision"]
