"""The audit trail behind the SiLA 2 door: a line for each command, and none of them without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from serve_cells import counts, described
from service_trail import Disk, ServiceTrail, hash_of, service_trail
from sila.framework import DefinedExecutionError
from sila_door import body, client_of, opened, responses

from c2t.runtime.serve.room.messages import CellResult
from c2t.runtime.serve.room.room import EngineRoom

COMMANDS = ("DescribeCells", "DescribeNow")


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


async def ask(client: Any, command: str, cells: bytes) -> bytes:
    """Lines of results, by a command that is watched or by one that answers at once."""
    answer = await getattr(client.CellDescription, command)(Cells=cells, Settings="")
    lines: bytes = (answer if command == "DescribeNow" else await responses(answer))["Results"]
    return lines


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_its_line(
    room, jobs, model, trail: ServiceTrail, tmp_path: Path, command: str
) -> None:
    async def run() -> bytes:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            return await ask(client, command, body(counts(3)))

    content = asyncio.run(run())
    results = [msgspec.json.decode(line, type=CellResult) for line in content.splitlines()]
    assert results == described(model, counts(3))
    (line,) = trail.lines("request")
    assert line["details"]["text_sha256"] == hash_of(results)
    assert line["who"]["asked_by"] == "SiLA 2"


@pytest.mark.parametrize("command", COMMANDS)
def test_who_is_refused_has_a_line(
    room, jobs, trail: ServiceTrail, tmp_path: Path, command: str
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            with pytest.raises(DefinedExecutionError):
                await ask(client, command, b"[")

    asyncio.run(run())
    line = trail.wait_for("refuse")[0]
    assert line["who"]["asked_by"] == "SiLA 2"
    assert line["details"]["problem"]


@pytest.mark.parametrize("command", COMMANDS)
def test_without_its_line_a_command_fails(
    room, jobs, trail: ServiceTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    Disk(monkeypatch).full = True

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            with pytest.raises(DefinedExecutionError, match="audit trail"):
                await ask(client, command, body(counts(2)))

    asyncio.run(run())
    assert not trail.lines()
