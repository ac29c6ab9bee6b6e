"""Clients of the SiLA 2 door, on an event loop of their own."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sila.client import Client, ClientConfig
from sila.framework import DefinedExecutionError

from .cells import Cells
from .tally import Tally


@asynccontextmanager
async def open_client(port: int, certificate: bytes | None) -> AsyncIterator[Client]:
    """A client of the SiLA 2 server of this machine.

    Args:
        port: Its port.
        certificate: The server's (PEM); None: without TLS.
    """
    config = ClientConfig(
        "127.0.0.1", port, tls=certificate is not None, root_certificates=certificate
    )
    client = Client(config)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def describe(client: Client, cells: bytes, settings: str = "") -> bytes:
    """Describe cells: the call, its end, its results.

    Args:
        client: An open client.
        cells: JSON, as the feature says.
        settings: JSON, or nothing.

    Returns:
        The results as lines of JSON.
    """
    execution = await client.CellDescription.DescribeCells(Cells=cells, Settings=settings)
    async for _ in await execution.subscribe_status():
        pass
    responses = await execution.get_responses()
    results: bytes = responses["Results"]
    return results


class SilaClient:
    """One client that does something else each time.

    Args:
        port: Of the service.
        certificate: The service's.
        cells: What to describe.
        tally: Counts what happened.
        seed: Of its choices.
    """

    def __init__(
        self, port: int, certificate: bytes, cells: Cells, *, tally: Tally, seed: int
    ) -> None:
        self._port, self._certificate = port, certificate
        self._cells, self._tally = cells, tally
        self._draw = random.Random(seed)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop, each minute or so with a new connection."""
        ways = [*[self.describe] * 6, self.cancel, self.leave, self.mistake]
        while not stop.is_set():
            async with open_client(self._port, self._certificate) as client:
                for _ in range(self._draw.randrange(20, 60)):
                    if stop.is_set():
                        return
                    way = self._draw.choice(ways)
                    kind = f"sila {way.__name__}"
                    try:
                        await way(kind, client)
                    except (OSError, AssertionError, TimeoutError) as error:
                        self._tally.failed(kind, repr(error))
                    except Exception as error:  # the client's own classes of errors
                        self._tally.failed(kind, f"{type(error).__name__}: {error}")

    async def describe(self, kind: str, client: Client) -> None:
        """Some cells, to the end."""
        chosen = self._some()
        results = await describe(client, json.dumps(chosen).encode())
        found = [json.loads(line) for line in results.splitlines()]
        wrong = self._cells.wrong(found) + (len(found) != len(chosen))
        self._tally.saw(kind, "answered", cells=len(found), wrong=wrong)

    async def cancel(self, kind: str, client: Client) -> None:
        """Many cells, and then none of them."""
        cells = json.dumps(self._some(16)).encode()
        execution = await client.CellDescription.DescribeCells(Cells=cells, Settings="")
        await asyncio.sleep(self._draw.random() * 0.05)
        name = execution.command_execution_uuid
        try:
            await client.CancelController.CancelCommand(CommandExecutionUUID=name)
        except DefinedExecutionError as error:  # the cells were finished before
            if "InvalidCommandExecutionUUID" not in str(error.identifier):
                raise
            self._tally.saw(kind, "too late")
        else:
            self._tally.saw(kind, "cancelled")

    async def leave(self, kind: str, client: Client) -> None:
        """A cell whose result nobody asks for; the service keeps it a while."""
        cells = json.dumps(self._some(1)).encode()
        await client.CellDescription.DescribeCells(Cells=cells, Settings="")
        self._tally.saw(kind, "left")

    async def mistake(self, kind: str, client: Client) -> None:
        """Cells that cannot be right are an error with two lines."""
        wrong = self._draw.choice((b"{", b"[]", b'[{"counts": {"no such gene": 1}}]', b"\xff"))
        try:
            await describe(client, wrong)
        except Exception as error:  # the client's own classes of errors
            self._tally.saw(kind, type(error).__name__)
            if "Hint" not in str(error) and "hint" not in str(error):
                self._tally.failed(kind, f"no hint: {error}")
        else:
            self._tally.failed(kind, f"{wrong!r} was described")

    def _some(self, number: int | None = None) -> list[dict[str, Any]]:
        return self._draw.sample(self._cells.counted, number or self._draw.choice((1, 2, 4, 8)))
