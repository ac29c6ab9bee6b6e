"""The embedding of a cell: the mean of the encoder's output over its ranks, whoever runs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_data import CLS, EOS, TinyBundle, tiny_bundle, tiny_cell

from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.embedding import embedding_of, embedding_sentence
from c2t.runtime.describe.queue import DescribeQueue

LENGTHS = (5, 20, 20, 3, 48, 20, 7, 5, 48, 30, 12, 5)


@pytest.fixture(scope="module", params=["mlp", "perceiver"])
def tiny(request: pytest.FixtureRequest) -> TinyBundle:
    return tiny_bundle(request.param)


def embeddings(tiny: TinyBundle, tokens: list[np.ndarray], **options: int) -> np.ndarray:
    describer = Describer(tiny.bundle, DescribeOptions(embedding=True, **options))
    found = list(describer.describe([EncodedCells.of_tokens(tokens)]))
    return np.stack([cell.embedding for cell in found])


def test_it_is_the_mean_of_the_encoders_own_output(tiny: TinyBundle) -> None:
    tokens = [tiny_cell(n, seed=i) for i, n in enumerate(LENGTHS)]
    found = embeddings(tiny, tokens, threads=1)
    encoder = Describer(tiny.bundle, DescribeOptions(threads=1)).engines.encoder
    for cell, embedding in zip(tokens, found, strict=True):
        vectors, hidden = encoder.encode_with_hidden(cell[None])
        np.testing.assert_allclose(vectors, encoder.encode(cell[None]), atol=1e-6)
        rows = tiny.bundle.manifest.encoder.rows
        assert hidden.shape[1] == (len(cell) if rows is None else min(rows, len(cell)))
        genes = [
            row for token, row in zip(cell, hidden[0], strict=False) if token not in (CLS, EOS)
        ]
        np.testing.assert_allclose(embedding, np.mean(genes, axis=0), atol=1e-5)
    assert found.dtype == np.float32
    assert found.shape == (len(tokens), tiny.bundle.manifest.gene_input.hidden_size)


def test_it_does_not_depend_on_batch_and_workers(tiny: TinyBundle) -> None:
    tokens = [tiny_cell(n, seed=i) for i, n in enumerate(LENGTHS * 4)]
    alone = np.concatenate([embeddings(tiny, [cell], threads=1) for cell in tokens[:12]])
    for options in ({"batch_size": 1}, {"batch_size": 16}, {"threads": 3}):
        found = embeddings(tiny, tokens, **options)
        np.testing.assert_allclose(found[:12], alone, atol=1e-5)


def test_a_queue_gives_the_same(tiny: TinyBundle) -> None:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))
    cell = tiny_cell(20)
    with DescribeQueue(describer) as queue:
        (one,) = [queue.submit(EncodedCells.of_tokens([cell]), embed=True)]
        (other,) = [queue.submit(EncodedCells.of_tokens([cell]))]
        np.testing.assert_allclose(
            one.result().embedding, embeddings(tiny, [cell], threads=1)[0], atol=1e-6
        )
        assert other.result().embedding is None


def test_without_being_asked_for_there_is_none(tiny: TinyBundle) -> None:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))
    (found,) = describer.describe([EncodedCells.of_tokens([tiny_cell(9)])])
    assert found.embedding is None


def test_a_cell_that_the_encoder_does_not_take_has_none(tiny: TinyBundle) -> None:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1, embedding=True))
    cells = EncodedCells.of_tokens([tiny_cell(9), np.zeros(0, np.int32)], errors=[None, "empty"])
    first, second = describer.describe([cells])
    assert first.embedding is not None
    assert (second.embedding, second.error) == (None, "empty")


def test_special_tokens_do_not_count(tiny: TinyBundle) -> None:
    spec = tiny.bundle.manifest.gene_input
    hidden = np.arange(12, dtype=np.float32).reshape(4, 3)
    tokens = np.array([CLS, 7, 8, EOS], np.int32)
    assert embedding_of(tokens, hidden, spec).tolist() == [4.5, 5.5, 6.5]
    assert embedding_of(tokens, hidden[:2], spec).tolist() == [3, 4, 5]  # the graph keeps two rows
    # A cell of special tokens alone still has a place.
    assert embedding_of(np.array([CLS, EOS], np.int32), hidden[:2], spec).tolist() == [
        1.5,
        2.5,
        3.5,
    ]


def test_the_sentence_names_the_ranks(tiny: TinyBundle) -> None:
    manifest = tiny.bundle.manifest
    some = manifest.replace(encoder=replace(manifest.encoder, rows=48))
    assert "the first 48 gene tokens" in embedding_sentence(some)
    every = manifest.replace(encoder=replace(manifest.encoder, rows=None))
    assert "all gene tokens" in embedding_sentence(every)
