"""Requests and jobs in one room: their texts, their order, and what is too much."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from decoder_gate import Gate
from serve_cells import anndata_of, counted_cells, counts, described

import c2t
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.serve.room.limits import (
    JobCancelled,
    OverloadedError,
    RoomLimits,
    StoppingError,
)
from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest, Settings, cell_result
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError, CellFileError, EngineError

OPTIONS = c2t.DescribeOptions(threads=1, engine="cpu", batch_size=2)


def test_texts_are_those_of_describe(room: EngineRoom) -> None:
    values = counts(30)
    ticket = room.describe(DescribeRequest(cells=counted_cells(values)))
    assert ticket.wait(60).cells == described(room.model, values)
    assert ticket.finished


def test_many_threads_and_settings_at_once(room: EngineRoom) -> None:
    short = Settings(max_new_tokens=3, drafts=False)
    beams = Settings(num_beams=2, max_new_tokens=4)
    found: dict[int, object] = {}

    def ask(number: int) -> None:
        settings = (Settings(), short, beams)[number % 3]
        cells = counted_cells(counts(7, number))
        request = DescribeRequest(cells=cells, settings=settings)
        found[number] = room.describe(request).wait(60).cells

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(9):
        options = room.describe_options((Settings(), short, beams)[number % 3])
        assert found[number] == described(room.model, counts(7, number), options)


def test_pieces_put_together_are_the_text(room: EngineRoom) -> None:
    wake = threading.Event()
    request = DescribeRequest(cells=counted_cells(counts(5)))
    ticket = room.describe(request, stream=True, wake=wake.set)
    texts, pieces, done = [""] * 5, 0, {}
    while len(done) < 5:
        assert wake.wait(60)
        wake.clear()
        for event in ticket.take():
            if hasattr(event, "result"):
                done[event.cell] = event.result
            else:
                assert event.start == len(texts[event.cell])
                texts[event.cell] = texts[event.cell][: event.start] + event.text
                pieces += 1
    assert texts == [done[cell].text for cell in range(5)]
    assert pieces >= 5  # more, unless the system lets this thread wait
    assert ticket.take() == []


def test_who_reads_late_gets_few_pieces(room: EngineRoom) -> None:
    request = DescribeRequest(cells=counted_cells(counts(5)))
    ticket = room.describe(request, stream=True)
    response = ticket.wait(60)
    events = ticket.take()
    assert len(events) == 10  # one piece and one result each
    assert {e.cell: e.text for e in events if not hasattr(e, "result")} == {
        cell: result.text for cell, result in enumerate(response.cells)
    }


def test_a_bad_cell_costs_no_good_one(room: EngineRoom) -> None:
    values = counts(4)
    cells = counted_cells(values)
    cells[1] = CountedCell(id="empty", counts={})
    found = room.describe(DescribeRequest(cells=cells)).wait(60).cells
    assert found[1].error == "cell is empty"
    expected = described(room.model, values)
    assert [found[n] for n in (0, 2, 3)] == [expected[n] for n in (0, 2, 3)]


def test_cells_without_names_are_numbered(room: EngineRoom) -> None:
    cells = [CountedCell(counts=cell.counts) for cell in counted_cells(counts(3))]
    found = room.describe(DescribeRequest(cells=cells)).wait(60).cells
    assert [cell.cell for cell in found] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("request_", "error", "problem"),
    [
        (
            DescribeRequest(cells=[CountedCell(counts={"nonsense": 3, "rubbish": 1})]),
            CellFileError,
            "gene names not recognised",
        ),
        (
            DescribeRequest(
                cells=counted_cells(counts(1)), settings=Settings(max_new_tokens=1 << 20)
            ),
            EngineError,
            "",
        ),
    ],
)
def test_what_cannot_be_described_is_refused(
    room: EngineRoom, request_: DescribeRequest, error: type[C2TError], problem: str
) -> None:
    with pytest.raises(error) as caught:
        room.describe(request_)
    assert problem in caught.value.problem
    assert caught.value.hint
    assert room.drain(10)  # it left nothing behind


def test_a_cancelled_request_leaves_and_others_go_on(room: EngineRoom, gate: Gate) -> None:
    values = counts(6)
    staying = room.describe(DescribeRequest(cells=counted_cells(values[:3])))
    leaving = room.describe(DescribeRequest(cells=counted_cells(values[3:])))
    assert gate.reached.wait(60)
    leaving.cancel()
    gate.open()
    assert staying.wait(60).cells == described(room.model, values)[:3]
    assert leaving.finished or leaving.wait(60)
    with pytest.raises(EngineError, match="cancelled"):
        leaving.response()


def test_a_request_goes_before_the_cells_of_a_job(room: EngineRoom, gate: Gate) -> None:
    """With a job's cells queued, a request takes the next rows that become free."""
    order: list[str] = []
    reader = open_cells(anndata_of(counts(60, 1), "job"), room.model.bundle)

    def run_job() -> None:
        job = room.describe_job(reader.chunks(), Settings(), cancelled=lambda: False)
        order.extend(found.cell for found in job)
        finished.append(len(order))

    finished: list[int] = []
    thread = threading.Thread(target=run_job)
    thread.start()
    assert gate.reached.wait(60)
    while room.waiting < 40:  # the worker took a window of 8, the others wait
        assert thread.is_alive()
    ticket = room.describe(DescribeRequest(cells=counted_cells(counts(3), "urgent")))
    waiting = []
    ticket_done = threading.Thread(target=lambda: (ticket.wait(60), waiting.append(room.waiting)))
    ticket_done.start()
    gate.open()
    ticket_done.join()
    thread.join()
    assert order == [f"job{n}" for n in range(60)]
    assert waiting[0] > 30  # most of the job was still to do


def test_a_job_has_the_texts_of_describe_and_embeddings(room: EngineRoom) -> None:
    values = counts(300)
    reader = open_cells(anndata_of(values), room.model.bundle)
    job = room.describe_job(
        reader.chunks(chunk_cells=64), Settings(), cancelled=lambda: False, embed=True
    )
    found = list(job)
    assert [cell_result(f) for f in found] == described(room.model, values)
    vectors = np.stack([f.embedding for f in found])
    assert vectors.shape == (300, room.model.bundle.manifest.gene_input.hidden_size)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert vectors.std(axis=0).min() > 0
    assert next(iter(room.model.describe(anndata_of(values)))).embedding is None


def test_a_job_stops_when_it_is_cancelled(room: EngineRoom, gate: Gate) -> None:
    stop = threading.Event()
    reader = open_cells(anndata_of(counts(50)), room.model.bundle)
    caught: list[BaseException] = []

    def run_job() -> None:
        try:
            list(room.describe_job(reader.chunks(), Settings(), cancelled=stop.is_set))
        except JobCancelled as error:
            caught.append(error)

    thread = threading.Thread(target=run_job)
    thread.start()
    assert gate.reached.wait(60)
    stop.set()
    thread.join(60)  # it does not wait for the step that is held back
    assert len(caught) == 1
    gate.open()
    assert room.drain(60)
    assert room.waiting == 0


def test_too_many_cells_are_refused_with_a_time(model: c2t.Model, monkeypatch) -> None:
    room = EngineRoom(model, RoomLimits(waiting_cells=20))
    room.warm_up()
    gate = Gate(monkeypatch)
    first = room.describe(DescribeRequest(cells=counted_cells(counts(20))))
    assert gate.reached.wait(60)
    with pytest.raises(OverloadedError) as caught:
        room.describe(DescribeRequest(cells=counted_cells(counts(12))))
    assert "wait already, at most 20 may" in caught.value.problem
    assert caught.value.retry_after >= 1
    gate.open()
    first.wait(60)
    assert room.describe(DescribeRequest(cells=counted_cells(counts(12)))).wait(60)
    room.close()


def test_settings_nobody_uses_make_room_for_others(model: c2t.Model, monkeypatch) -> None:
    room = EngineRoom(model, RoomLimits(queues=2))
    for length in range(1, 6):
        request = DescribeRequest(
            cells=counted_cells(counts(2)), settings=Settings(max_new_tokens=length)
        )
        room.describe(request).wait(60)
    # Labels may have been compared with this model before: that describer is kept.
    assert sum(options.max_new_tokens is not None for options in model._describers) <= 2
    for length in (7, 8):  # opened before the gate
        request = DescribeRequest(
            cells=counted_cells(counts(1)), settings=Settings(max_new_tokens=length)
        )
        room.describe(request).wait(60)
    gate = Gate(monkeypatch)
    tickets = [
        room.describe(
            DescribeRequest(
                cells=counted_cells(counts(2)), settings=Settings(max_new_tokens=length)
            )
        )
        for length in (7, 8)
    ]
    with pytest.raises(OverloadedError, match="other settings"):
        room.describe(
            DescribeRequest(cells=counted_cells(counts(2)), settings=Settings(max_new_tokens=9))
        )
    gate.open()
    for ticket in tickets:
        ticket.wait(60)
    room.close()


def test_draining_finishes_what_was_begun(room: EngineRoom, gate: Gate) -> None:
    ticket = room.describe(DescribeRequest(cells=counted_cells(counts(3))))
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(room.drain(60)))
    thread.start()
    while not room.stopping:
        pass
    with pytest.raises(StoppingError):
        room.describe(DescribeRequest(cells=counted_cells(counts(1))))
    assert not drained
    gate.open()
    thread.join()
    assert drained == [True]
    assert ticket.finished


def test_closing_gives_up_what_is_under_way(room: EngineRoom, gate: Gate) -> None:
    ticket = room.describe(DescribeRequest(cells=counted_cells(counts(3))))
    assert gate.reached.wait(60)
    thread = threading.Thread(target=room.close)
    thread.start()
    gate.open()
    thread.join()
    with pytest.raises(EngineError, match="the service stopped"):
        ticket.wait(60)


def test_a_broken_engine_is_said_to_whoever_waits(
    room: EngineRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.warm_up()

    def broken(*_: object) -> None:
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr(OnnxRuntimeDecoder, "bind", broken)
    with pytest.raises(EngineError, match="the engine failed"):
        room.describe(DescribeRequest(cells=counted_cells(counts(3)))).wait(60)
