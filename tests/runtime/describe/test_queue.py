"""Cells that come and go while others are written."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future
from pathlib import Path

import numpy as np
import pytest

import c2t
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.queue import DescribeQueue
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.system.errors import EngineError

ONE_WORKER = c2t.DescribeOptions(threads=1, engine="cpu")
SEVERAL = c2t.DescribeOptions(threads=3, batch_size=2, engine="cpu")


@pytest.fixture
def model(tiny_bundle_folder: Path):
    with c2t.open(tiny_bundle_folder, ONE_WORKER) as model:
        yield model


def token_cells(count: int) -> list[EncodedCells]:
    draw = np.random.default_rng(0)
    return [EncodedCells.of_tokens([draw.integers(4, 20, 5 + i % 7)]) for i in range(count)]


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


def test_a_slow_reader_holds_up_nobody(model: c2t.Model) -> None:
    with DescribeQueue(model.describer()) as queue:
        slow = queue.describe(enumerate(token_cells(100)))
        next(slow)  # and reads no further
        began = time.monotonic()
        found = dict(queue.describe(enumerate(token_cells(5))))
        assert len(found) == 5
        assert time.monotonic() - began < 60
        assert len(list(slow)) == 99


def test_urgent_cells_are_begun_in_their_order(model: c2t.Model) -> None:
    """None is overtaken by those that come after it, however many come.

    Of one worker: where there are several, one that has no core for a while is late with its cells.
    """
    describer = model.describer(ONE_WORKER)
    begun: list[int] = []

    def begin(number: int) -> None:
        if number not in begun:
            begun.append(number)

    with DescribeQueue(describer) as queue:
        futures = [
            queue.submit(cell, urgent=True, on_tokens=lambda _, n=number: begin(n))
            for number, cell in enumerate(token_cells(80))
        ]
        for future in futures:
            future.result(timeout=60)
    order = [number for number in begun if number in range(80)]
    reach = 2 * ONE_WORKER.batch_size  # within a batch, cells are sorted by length
    assert all(abs(place - number) <= reach for place, number in enumerate(order))


def test_other_cells_have_their_turn_while_urgent_ones_keep_coming(model: c2t.Model) -> None:
    describer = model.describer()
    cells = token_cells(8)
    with DescribeQueue(describer) as queue:
        stop = threading.Event()
        urgent: list[Future[Description]] = []

        def keep_asking() -> None:
            while not stop.is_set():
                if queue.waiting_urgent < 50:
                    urgent.append(queue.submit(cells[len(urgent) % 8], urgent=True))

        asking = threading.Thread(target=keep_asking)
        asking.start()
        while queue.waiting_urgent < 40:
            pass
        others = [queue.submit(cell) for cell in cells]
        found = [future.result(timeout=60).text for future in others]
        stop.set()
        asking.join()
        assert found == texts_alone(describer, cells)
        assert sum(future.done() for future in urgent) >= 3 * len(others)
