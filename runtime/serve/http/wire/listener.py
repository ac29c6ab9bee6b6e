"""Waits for a request's cells or a job's events, and notices meanwhile when the client goes."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import Request


class Listener:
    """Wakes one waiting coroutine: by `wake`, from any thread, or because the client has gone.

    Used as a context manager, when the whole body was read: it alone receives what comes then.

    Attributes:
        gone: Whether the client has closed the connection.
    """

    def __init__(self, request: Request) -> None:
        self.gone = False
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> Listener:
        self._watch = self._loop.create_task(self._until_gone())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def wake(self) -> None:
        """There is something to look at. Any thread may call this."""
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop has ended, and with it whoever waited
            if not self._loop.is_closed():
                raise

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait to be woken.

        Returns:
            False where the time was over before.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True

    async def _until_gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._event.set()
