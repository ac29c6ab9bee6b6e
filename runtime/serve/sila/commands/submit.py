"""Cells of a call, given to the room: short ones from the event loop, long ones from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from c2t.runtime.serve.room.audit import refusing
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.room.ticket import Ticket
from c2t.runtime.serve.sila.commands.boxed import Box, HeldBytes
from c2t.runtime.serve.sila.wire import read_request

SHORT_BYTES = 256 << 10  # cells that are read in some milliseconds, so in the event loop
LONG_AT_A_TIME = 2  # longer ones: the objects of JSON take ten times its bytes


class Submitter:
    """Gives the cells of calls to a room.

    Args:
        room: Describes.
        held: What is held before it is read.
    """

    def __init__(self, room: EngineRoom, held: HeldBytes) -> None:
        self._room = room
        self._held = held
        self._long = asyncio.Semaphore(LONG_AT_A_TIME)

    async def submit(
        self, box: Box, wake: Callable[[], None], *, cells_max: int | None = None
    ) -> Ticket:
        """Take Cells and Settings out of a box, and give them to the room.

        Args:
            box: Parameters of the command.
            wake: Called in any thread when all cells are finished.
            cells_max: Most cells.

        Raises:
            C2TError: They are not as the feature says, or the room refuses them.
        """

        def describe() -> Ticket:
            with refusing(self._room.audit):  # what cannot be read has a line, too
                request = read_request(box.pop("Cells"), box.pop("Settings"), cells_max)
            return self._room.describe(request, wake=wake)

        size = len(box["Cells"])
        if size > SHORT_BYTES:
            with self._held.holding(size):
                async with self._long:
                    return await asyncio.to_thread(describe)
        if box["Settings"].strip():  # the room may have to make buffers for them
            return await asyncio.to_thread(describe)
        return describe()
