"""A model that stays open: engines once, threads, results in any order, cells that come and go."""

from __future__ import annotations

import gc
import threading
import time
import warnings
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import anndata
import numpy as np
import onnxruntime
import pytest
from cli_process import make_cells

import c2t
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.formats.h5ad import H5adStore
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.queue import DescribeQueue
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.system.errors import EngineError

ONE_WORKER = c2t.DescribeOptions(threads=1, engine="cpu")
SEVERAL = c2t.DescribeOptions(threads=3, batch_size=2, engine="cpu")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return make_cells(tmp_path / "cells.h5ad", 20)


@pytest.fixture
def model(tiny_bundle_folder: Path):
    with c2t.open(tiny_bundle_folder, ONE_WORKER) as model:
        yield model


@pytest.fixture
def opened_sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Graphs that ONNX Runtime opened."""
    opened: list[str] = []
    real = onnxruntime.InferenceSession

    def counting(path, *arguments, **options):
        opened.append(Path(path).name)
        return real(path, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counting)
    return opened


def token_cells(count: int) -> list[EncodedCells]:
    draw = np.random.default_rng(0)
    return [EncodedCells.of_tokens([draw.integers(4, 20, 5 + i % 7)]) for i in range(count)]


def test_engines_open_once(model: c2t.Model, cells: Path, opened_sessions: list[str]) -> None:
    first = [(r.cell, r.text) for r in model.describe(cells)]
    assert [(r.cell, r.text) for r in model.describe(cells)] == first
    beams = c2t.DescribeOptions(threads=1, engine="cpu", num_beams=2)
    # Cells 3 and 5 of these have nothing that could be described.
    assert sum(r.error is None for r in model.describe(cells, beams)) == 18
    assert sorted(opened_sessions) == ["decoder.onnx", "encoder.onnx", "projector.onnx"]
    list(model.describe(cells, c2t.DescribeOptions(threads=2, engine="cpu", prepack=False)))
    assert len(opened_sessions) == 6  # other weights in memory were asked for


def test_close_frees_the_engines(tiny_bundle_folder: Path, cells: Path) -> None:
    with c2t.open(tiny_bundle_folder, SEVERAL) as model:
        assert len(list(model.describe(cells))) == 20
        engines = model.describer().engines
        gone = [weakref.ref(part) for part in (engines.encoder, engines.decoder)]
        gone.append(weakref.ref(model.bundle.gene_embedding_tables))
        del engines
    gc.collect()
    assert [part() for part in gone] == [None] * 3
    with pytest.raises(EngineError, match="is closed"):
        next(model.describe(cells))
    model.close()  # once more is no error


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
def test_threads_may_share_a_model(
    model: c2t.Model, cells: Path, options: c2t.DescribeOptions
) -> None:
    expected = [r.text for r in model.describe(cells, options)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [r.text for r in model.describe(cells, options)], range(4)))
    assert found == [expected] * 4


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
def test_two_iterators_may_be_read_in_turn(
    model: c2t.Model, cells: Path, options: c2t.DescribeOptions
) -> None:
    expected = [r.text for r in model.describe(cells, options)]
    turns = list(zip(model.describe(cells, options), model.describe(cells, options), strict=True))
    assert [(a.text, b.text) for a, b in turns] == [(text, text) for text in expected]


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
@pytest.mark.parametrize("kind", ["describe", "describe_keyed"])
def test_an_abandoned_iterator_leaves_nothing_behind(
    model: c2t.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options
) -> None:
    path = make_cells(tmp_path / "many.h5ad", 300)
    closed: list[str] = []
    close = H5adStore.close
    monkeypatch.setattr(H5adStore, "close", lambda s: (closed.append(s.name), close(s)))
    threads = set(threading.enumerate())
    described = getattr(model, kind)(path, options)
    next(described)
    assert not closed
    del described
    gc.collect()
    assert closed == ["many.h5ad"]
    assert set(threading.enumerate()) == threads
    assert len(list(model.describe(path, options))) == 300  # and the model goes on


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
def test_descriptions_in_any_order_have_their_keys(
    model: c2t.Model, cells: Path, options: c2t.DescribeOptions
) -> None:
    expected = {number: r.text for number, r in enumerate(model.describe(cells, options))}
    found = {key: r.text for key, r in model.describe_keyed(cells, options)}
    assert found == expected
    chosen = c2t.CellOptions(cells=[3, 11])
    assert {key for key, _ in model.describe_keyed(cells, options, reading=chosen)} == {3, 11}


def test_descriptions_line_up_with_an_object(model: c2t.Model, tmp_path: Path) -> None:
    path = make_cells(tmp_path / "cells.h5ad", 4)
    cells = anndata.read_h5ad(path)
    cells.obs["filter_pass"] = [1, 0, 1, 1]
    assert [r.cell for r in model.describe(cells)] == list(cells.obs_names)
    for reading, count in ((c2t.CellOptions(), 3), (c2t.CellOptions(limit=2), 2)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(list(model.describe(cells, reading=reading))) == count


@pytest.mark.parametrize("kind", ["describe", "describe_keyed"])
def test_warnings_point_at_the_caller(model: c2t.Model, tmp_path: Path, kind: str) -> None:
    cells = anndata.read_h5ad(make_cells(tmp_path / "cells.h5ad", 3))
    cells.obs_names = ["a", "b", "a"]
    with pytest.warns(UserWarning, match="1 cells have the name of an earlier cell") as caught:
        assert len(list(getattr(model, kind)(cells))) == 3
    assert caught[0].filename == __file__


def texts_alone(describer: Describer, cells: list[EncodedCells]) -> list[str | None]:
    return [next(iter(describer.describe([cell]))).text for cell in cells]


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
def test_cells_join_while_others_are_written(
    model: c2t.Model, options: c2t.DescribeOptions
) -> None:
    describer = model.describer(options)
    cells = token_cells(30)
    with DescribeQueue(describer) as queue:
        futures = [queue.submit(cell) for cell in cells[:10]]
        futures[3].result(timeout=60)
        futures += [queue.submit(cell) for cell in cells[10:]]
        found = [future.result(timeout=60).text for future in futures]
    assert found == texts_alone(describer, cells)


def test_cells_leave_between_two_tokens(model: c2t.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled cell takes no further step; the cells beside it get their texts."""
    describer = model.describer()
    cells = token_cells(4)
    expected = texts_alone(describer, cells)
    decoder, steps = describer.engines.decoder, []
    begun, cancelled = threading.Event(), threading.Event()
    bind = type(decoder).bind

    def watched(self, cache, rows, tokens, logit_rows):
        steps.append(rows)
        if len(steps) == 6:  # all prompts and a step or two
            begun.set()
            assert cancelled.wait(60)
        return bind(self, cache, rows, tokens, logit_rows)

    with DescribeQueue(describer) as queue:
        monkeypatch.setattr(type(decoder), "bind", watched)
        futures = [queue.submit(cell) for cell in cells]
        assert begun.wait(60)
        assert futures[1].cancel()
        cancelled.set()
        found = [future.result(timeout=60).text for i, future in enumerate(futures) if i != 1]
        with pytest.raises(CancelledError):
            futures[1].result()
    assert found == [text for i, text in enumerate(expected) if i != 1]


def test_a_closed_queue_cancels_what_waits(model: c2t.Model) -> None:
    queue = DescribeQueue(model.describer())
    futures = [queue.submit(cell) for cell in token_cells(200)]
    futures[0].result(timeout=60)
    queue.close()
    assert all(future.done() for future in futures)
    assert any(future.cancelled() for future in futures)
    with pytest.raises(EngineError, match="closed"):
        queue.submit(token_cells(1)[0])


@pytest.mark.parametrize("error", [EngineError("no memory"), AttributeError("a bug")])
def test_whoever_waits_learns_what_failed(
    model: c2t.Model, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    describer = model.describer()

    def failing(self: object, embeddings: np.ndarray) -> np.ndarray:
        raise error

    with DescribeQueue(describer) as queue:
        with monkeypatch.context() as patch:
            patch.setattr(OnnxRuntimeEncoder, "encode", failing)
            future = queue.submit(token_cells(1)[0])
            if isinstance(error, EngineError):  # it may be for what the cell is
                assert future.result(timeout=60).error == "no memory"
            else:
                with pytest.raises(AttributeError, match="a bug"):
                    future.result(timeout=60)
        assert queue.submit(token_cells(1)[0]).result(timeout=60).text  # the queue goes on


def test_a_slow_reader_holds_up_nobody(model: c2t.Model, cells: Path) -> None:
    with DescribeQueue(model.describer()) as queue:
        slow = queue.describe(enumerate(token_cells(100)))
        next(slow)  # and reads no further
        began = time.monotonic()
        found = dict(queue.describe(enumerate(token_cells(5))))
        assert len(found) == 5
        assert time.monotonic() - began < 60
        assert len(list(slow)) == 99
