"""The command Describe Now, through a real client: one call, one answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from decoder_gate import Gate
from serve_cells import counts, described
from sila.framework import DefinedExecutionError
from sila_door import body, client_of, eventually, lines, opened

import c2t
from c2t.runtime.serve.room.limits import RoomLimits
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.sila.commands.describe_now import CELLS_MAX


def test_the_answer_is_that_of_describe(room, jobs, model, tmp_path: Path) -> None:
    values = counts(7)
    values[3] = 0  # a cell that cannot be described
    wanted = described(model, values)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            found = await client.CellDescription.DescribeNow(Cells=body(values), Settings="")
            assert found["Results"] == lines(wanted)
            assert (found["Count"], found["Failed"], found["Warnings"]) == (7, 1, [])
            short = await client.CellDescription.DescribeNow(
                Cells=body(values[:1]), Settings='{"max_new_tokens": 3}'
            )
            assert len(short["Results"]) < len(lines(wanted[:1]))
            assert not len(door.server.runs)  # nothing is kept

    asyncio.run(run())


@pytest.mark.parametrize(
    ("cells", "settings", "kind", "problem"),
    [
        (b"{", "", "InputRefused", "Cells"),
        (b"[]", "", "InputRefused", "Cells"),
        (b'[{"counts": {"NOGENE": 1}}]', "", "InputRefused", "gene"),
        (b'[{"counts": {"A": 1, "A": 1}}]', "", "InputRefused", "'A' stands twice"),
        (body(counts(CELLS_MAX + 1)), "", "InputRefused", "65 cells, at most 64"),
        (body(counts(1)), '{"beams": 2}', "InputRefused", "Settings"),
    ],
)
def test_what_cannot_be_right_is_refused(
    room, jobs, tmp_path: Path, cells: bytes, settings: str, kind: str, problem: str
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            with pytest.raises(DefinedExecutionError) as caught:
                await client.CellDescription.DescribeNow(Cells=cells, Settings=settings)
            assert caught.value.identifier == kind
            said, hint = str(caught.value).splitlines()
            assert problem in said
            assert hint.startswith("hint: ")

    asyncio.run(run())


def test_a_client_that_ends_the_call_takes_its_cells_along(
    room, jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            call = asyncio.create_task(
                client.CellDescription.DescribeNow(Cells=body(counts(8)), Settings="")
            )
            await asyncio.to_thread(gate.reached.wait, 60)
            call.cancel()
            await eventually(lambda: room.waiting == 0)
            gate.open()
            assert await asyncio.to_thread(room.drain, 60)
            assert gate.steps <= 4  # a worker's step that was under way, no text to its end

    asyncio.run(run())


def test_a_full_room_says_so(
    model: c2t.Model, jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = EngineRoom(model, RoomLimits(waiting_cells=4))
    room.warm_up()

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            command = client.CellDescription.DescribeNow
            first = asyncio.create_task(command(Cells=body(counts(60)), Settings=""))
            await asyncio.to_thread(gate.reached.wait, 60)
            with pytest.raises(DefinedExecutionError) as caught:
                await command(Cells=body(counts(4)), Settings="")
            assert caught.value.identifier == "Overloaded"
            gate.open()
            assert (await first)["Count"] == 60

    try:
        asyncio.run(run())
    finally:
        room.close()
