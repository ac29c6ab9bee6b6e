"""Describing: order, batches, errors of single cells, and the text of the PyTorch model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_data import TinyBundle, tiny_bundle, tiny_cell
from tolerance import FLOAT32

from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.system.errors import C2TError, CellFileError, EngineError
from c2t.runtime.system.machine import look_at_machine


def encoded(tokens: list[np.ndarray], errors: list[str | None] | None = None) -> EncodedCells:
    ids = [f"cell{number}" for number in range(len(tokens))]
    return EncodedCells.of_tokens(tokens, ids=ids, errors=errors)


def cells(*lengths: int) -> list[np.ndarray]:
    return [tiny_cell(n, seed=i) for i, n in enumerate(lengths)]


@pytest.fixture(scope="module", params=["mlp", "perceiver"])
def tiny(request: pytest.FixtureRequest) -> TinyBundle:
    return tiny_bundle(request.param)


def describe(tiny: TinyBundle, chunks: list[EncodedCells], **options: int) -> list[Description]:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1, **options))
    return list(describer.describe(chunks))


LENGTHS = (5, 20, 20, 3, 48, 20, 7, 5, 48, 30, 12, 5)


@pytest.mark.parametrize("beams", [1, 4])
def test_tokens_and_text_of_the_pytorch_model(tiny: TinyBundle, beams: int) -> None:
    tokens = cells(*LENGTHS)
    found = describe(tiny, [encoded(tokens[:5]), encoded(tokens[5:])], num_beams=beams)
    generation = replace(tiny.generation, num_beams=beams)
    for cell, result in zip(tokens, found, strict=True):
        assert list(result.tokens) == tiny.reference(cell, generation)
        assert result.text == tiny.text(cell, generation)
        assert result.error is None
        assert 0 < result.confidence <= 1
        assert result.genes_used == len(cell)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_text_does_not_depend_on_the_batch(tiny: TinyBundle, batch_size: int) -> None:
    tokens = cells(*LENGTHS)
    alone = [describe(tiny, [encoded([cell])])[0] for cell in tokens]
    together = describe(tiny, [encoded(tokens)], batch_size=batch_size)
    assert [r.tokens for r in together] == [r.tokens for r in alone]
    assert [r.text for r in together] == [r.text for r in alone]
    np.testing.assert_allclose(
        [r.confidence for r in together], [r.confidence for r in alone], atol=FLOAT32
    )


def test_a_bad_cell_costs_only_itself(tiny: TinyBundle) -> None:
    good = cells(20, 8)
    bad = encoded(
        [
            np.empty(0, np.int32),
            good[0],
            np.array([2, 99999, 3], np.int32),
            np.full(500, 5, np.int32),
            np.array([-1], np.int32),
            good[1],
            np.empty(0, np.int32),
        ],
        errors=["cell is empty", None, None, None, None, None, None],
    )
    found = describe(tiny, [bad])
    errors = [r.error for r in found]
    assert errors[0] == "cell is empty"
    assert "99999" in errors[2]
    assert "500" in errors[3]
    assert "-1" in errors[4]
    assert errors[6] == "cell has no gene tokens"
    assert [r.text is None for r in found] == [e is not None for e in errors]
    assert [r.cell for r in found] == [f"cell{i}" for i in range(7)]
    assert [found[1].text, found[5].text] == [r.text for r in describe(tiny, [encoded(good)])]


def test_only_bad_cells(tiny: TinyBundle) -> None:
    found = describe(tiny, [encoded([np.empty(0, np.int32)] * 5, ["cell is empty"] * 5)])
    assert [r.error for r in found] == ["cell is empty"] * 5


def test_no_cells(tiny: TinyBundle) -> None:
    assert describe(tiny, []) == []


def test_an_engine_failure_of_one_cell_is_its_error(
    tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))
    encode = describer.engines.encoder.encode

    def failing(embeddings: np.ndarray) -> np.ndarray:
        if embeddings.shape[1] == 7:
            problem = "no memory for 7 genes"
            raise EngineError(problem)
        return encode(embeddings)

    monkeypatch.setattr(describer.engines.encoder, "encode", failing)
    found = list(describer.describe([encoded(cells(5, 7, 9, 7, 7, 7, 5))]))
    expected = [None, "x", None, "x", "x", "x", None]
    assert [r.error for r in found] == [e and "no memory for 7 genes" for e in expected]


def test_an_engine_that_always_fails_is_an_error(
    tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))

    def failing(embeddings: np.ndarray) -> np.ndarray:
        problem = "boom"
        raise EngineError(problem)

    monkeypatch.setattr(describer.engines.encoder, "encode", failing)
    with pytest.raises(EngineError, match="the first 3 cells all failed: boom"):
        list(describer.describe([encoded(cells(*LENGTHS))]))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_bug_is_no_error_of_a_cell(
    tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    def buggy(self: object, embeddings: np.ndarray) -> np.ndarray:
        return embeddings.no_such_thing

    monkeypatch.setattr(OnnxRuntimeEncoder, "encode", buggy)
    describer = Describer(tiny.bundle, DescribeOptions(threads=threads))
    with pytest.raises(AttributeError, match="no_such_thing"):
        list(describer.describe([encoded(cells(5))]))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_engine_that_fails_for_all_of_few_cells_is_an_error(
    tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    def failing(self: object, embeddings: np.ndarray) -> np.ndarray:
        problem = "no memory"
        raise EngineError(problem)

    with monkeypatch.context() as patch:
        patch.setattr(OnnxRuntimeEncoder, "encode", failing)
        describer = Describer(tiny.bundle, DescribeOptions(threads=threads))
        empty = [np.empty(0, np.int32)]
        chunk = encoded(empty + cells(5, 6) + empty, ["cell is empty", None, None, "cell is empty"])
        stream = describer.describe([chunk])
        assert next(stream).error == "cell is empty"
        with pytest.raises(EngineError, match="no cell could be described: no memory"):
            next(stream)
        # Others were described before: it may be for what the last ones are.
        describer = Describer(tiny.bundle, DescribeOptions(threads=threads))
        found = list(describer.describe([chunk], going_on=True))
        assert [r.engine_failed for r in found] == [False, True, True, False]
    assert describe(tiny, [encoded(cells(5))])[0].text


def test_an_interruption_keeps_what_workers_have_finished(
    tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = cells(*LENGTHS)
    alone = describe(tiny, [encoded(tokens)])

    def chunks():
        yield encoded(tokens[:6])
        yield encoded(tokens[6:9])
        raise KeyboardInterrupt

    describer = Describer(tiny.bundle, DescribeOptions(threads=3, batch_size=2))
    stream = describer.describe(chunks())
    found = [next(stream) for _ in range(9)]
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert [r.tokens for r in found] == [r.tokens for r in alone[:9]]


def test_settings_that_do_not_fit(tiny: TinyBundle) -> None:
    with pytest.raises(EngineError, match="exceed 256"):
        describe(tiny, [], max_new_tokens=10_000)
    with pytest.raises(C2TError, match="num_beams is 0"):
        describe(tiny, [], num_beams=0)
    with pytest.raises(C2TError, match="num_beams is 1,025"):
        describe(tiny, [], num_beams=1025)
    with pytest.raises(C2TError, match="batch_size is 100,000"):
        describe(tiny, [], batch_size=100_000)


@pytest.mark.parametrize("options", [{"num_beams": 8}, {"batch_size": 32}])
def test_more_texts_than_the_machine_has_memory_for(
    tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    here = replace(look_at_machine(), memory_bytes=100_000, gpus=())
    monkeypatch.setattr("c2t.runtime.describe.describer.look_at_machine", lambda: here)
    with pytest.raises(EngineError, match="of memory; this machine has") as caught:
        describe(tiny, [], **options)
    assert "--batch-size" in caught.value.hint


def test_stops_when_the_consumer_stops(tiny: TinyBundle) -> None:
    taken = []

    def chunks():
        for first in range(100):
            taken.append(first)
            yield encoded(cells(5, 6, 7, 8))

    describer = Describer(tiny.bundle, DescribeOptions(threads=1, batch_size=2))
    stream = describer.describe(chunks())
    assert next(stream).cell == "cell0"
    assert len(taken) < 10


def test_profile(tiny: TinyBundle) -> None:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))
    assert describer.profile().first_token_seconds is None
    found = list(describer.describe([encoded(cells(*LENGTHS))]))
    profile = describer.profile()
    names = [stage.name for stage in profile.stages]
    assert names == ["open", "read", "embed", "encoder", "projector", "prefill", "decode", "text"]
    assert all(stage.seconds >= 0 and stage.calls > 0 for stage in profile.stages)
    assert profile.cells == len(LENGTHS)
    assert profile.tokens == profile.steps == sum(len(r.tokens) for r in found)
    assert profile.first_token_seconds > 0


@pytest.mark.parametrize("beams", [1, 4])
def test_text_does_not_depend_on_the_workers(tiny: TinyBundle, beams: int) -> None:
    tokens = cells(*LENGTHS * 3)
    tokens[7] = np.empty(0, np.int32)
    chunks = [encoded(tokens[:20]), encoded(tokens[20:])]
    alone = describe(tiny, chunks, num_beams=beams, batch_size=2)
    options = DescribeOptions(threads=3, num_beams=beams, batch_size=2)
    describer = Describer(tiny.bundle, options)
    for _ in range(2):
        together = list(describer.describe(chunks))
        assert [r.tokens for r in together] == [r.tokens for r in alone]
        assert [r.cell for r in together] == [r.cell for r in alone]
        assert [r.error for r in together] == [r.error for r in alone]
    assert describer.profile().cells == 2 * (len(tokens) - 1)


def test_errors_and_stopping_with_workers(
    tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    describer = Describer(tiny.bundle, DescribeOptions(threads=3, batch_size=1))

    def chunks():
        yield encoded(cells(*LENGTHS))
        problem = "the file ends early"
        raise CellFileError(problem)

    stream = describer.describe(chunks())
    with pytest.raises(CellFileError, match="ends early"):
        list(stream)
    stream = describer.describe([encoded(cells(*LENGTHS))])
    assert next(stream).cell == "cell0"
    stream.close()

    def failing(self: object, embeddings: np.ndarray) -> np.ndarray:
        problem = "boom"
        raise EngineError(problem)

    monkeypatch.setattr(OnnxRuntimeEncoder, "encode", failing)
    describer = Describer(tiny.bundle, DescribeOptions(threads=3, batch_size=1))
    with pytest.raises(EngineError, match="all failed: boom"):
        list(describer.describe([encoded(cells(*LENGTHS))]))
