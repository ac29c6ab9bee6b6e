"""The audit trail behind the SiLA 2 door: a line for each command, and none of them without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from serve_cells import counts, described
from service_trail import Disk, ServiceTrail, hash_of, service_trail
from sila.framework import DefinedExecutionError
from sila_door import body, client_of, opened, responses

from c2t.runtime.serve.room.messages import CellResult
from c2t.runtime.serve.room.room import EngineRoom


@pytest.fixture
def trail(tmp_path: Path):
    with service_trail(tmp_path / "audit") as trail:
        yield trail


@pytest.fixture
def room(model, trail: ServiceTrail):
    room = EngineRoom(model, audit=trail.audit)
    room.warm_up()
    yield room
    room.close()


def test_a_command_has_its_line(room, jobs, model, trail: ServiceTrail, tmp_path: Path) -> None:
    async def run() -> bytes:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(3)), Settings=""
            )
            found: bytes = (await responses(execution))["Results"]
            return found

    content = asyncio.run(run())
    results = [msgspec.json.decode(line, type=CellResult) for line in content.splitlines()]
    assert results == described(model, counts(3))
    (line,) = trail.lines("request")
    assert line["details"]["text_sha256"] == hash_of(results)
    assert line["who"]["asked_by"] == "SiLA 2"


def test_without_its_line_a_command_fails(
    room, jobs, trail: ServiceTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch).full = True

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(2)), Settings=""
            )
            with pytest.raises(DefinedExecutionError, match="audit trail"):
                await responses(execution)

    asyncio.run(run())
    assert not trail.lines()
