"""A real SiLA 2 door over a tiny bundle, real clients, and cells held back in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from serve_cells import counted_cells
from sila.client import Client, ClientConfig, CommandExecution
from sila.framework import CommandExecutionUUID, DefinedExecutionError

from c2t.runtime.output.record import Record
from c2t.runtime.output.text_files import json_line
from c2t.runtime.serve.room.messages import CellResult
from c2t.runtime.serve.sila.door import SilaDoor, start
from c2t.runtime.serve.sila.options import SilaOptions

FEATURE = "org.celltotext/cells/CellDescription/v1"
NOTHING = {"FilePath": "", "Data": b"", "FileName": "", "Settings": "", "Reading": ""}
SECONDS = 60  # that a test waits for anything


@asynccontextmanager
async def opened(room: Any, jobs: Any, folder: Path, **options: Any) -> AsyncIterator[SilaDoor]:
    """A door at a free port of this machine, with what it keeps in a folder."""
    door = await start(room, jobs, SilaOptions(folder=folder / "sila", port=0, **options))
    try:
        yield door
    finally:
        await door.stop(grace_seconds=0)


@asynccontextmanager
async def client_of(door: SilaDoor) -> AsyncIterator[Client]:
    """A client that trusts the door's certificate."""
    client = Client(ClientConfig(door.host, door.port, **trust(door)))
    await client.open()
    try:
        yield client
    finally:
        await client.close()


def trust(door: SilaDoor) -> dict[str, Any]:
    """How a client speaks to the door."""
    if door.certificate_file is None:
        return {"tls": False}
    return {"tls": True, "root_certificates": door.certificate_file.read_bytes()}


def body(values: np.ndarray) -> bytes:
    """Cells as the parameter Cells."""
    return msgspec.json.encode(counted_cells(values))


def lines(results: list[CellResult]) -> bytes:
    """Results as `c2t describe` writes them."""
    return b"".join(
        json_line(Record(row=row, **_given(result))) for row, result in enumerate(results)
    )


async def responses(execution: CommandExecution) -> Any:
    """The final responses of a command, once it has ended."""
    async with asyncio.timeout(SECONDS):
        async for _ in await execution.subscribe_status():
            pass
        return await execution.get_responses()


async def listen(client: Client, execution: CommandExecution) -> list[dict[str, Any]]:
    """All intermediate responses of a command, from the wire.

    The library's client stops listening when it hears that the command is finished, also where
    responses are still on their way.
    """
    command = execution.command
    package = command.feature.fully_qualified_identifier.rpc_package
    method = f"/{package}.{command.feature.identifier}/{command.identifier}_Intermediate"
    request = CommandExecutionUUID(value=execution.command_execution_uuid).encode()
    async with asyncio.timeout(SECONDS):
        return [
            await client.protobuf.decode(
                f"{package}.{command.identifier}_IntermediateResponses", message
            )
            async for message in client._channel.unary_stream(method)(request)
        ]


async def refusal(execution: CommandExecution) -> tuple[str, list[str]]:
    """Identifier and lines of the defined execution error that a command ends with."""
    with pytest.raises(DefinedExecutionError) as caught:
        await responses(execution)
    return caught.value.identifier, str(caught.value).splitlines()


async def eventually(condition: Any) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def _given(result: CellResult) -> dict[str, Any]:
    """The fields that a result has; some depend on the bundle."""
    fields = msgspec.structs.asdict(result)
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}
