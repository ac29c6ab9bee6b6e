"""Signals during a build: noted when they come, obeyed where Python is in charge again.

One decision: a handler that raises must not run while TensorRT does. TensorRT calls Python back for
progress, messages and the bytes of a plan, and swallows what these raise: an interrupted build
would end as a finished one, with a part of its plan missing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows lacks SIGHUP, others SIGBREAK


class DeferredSignals:
    """Notes the signals that come within its block, and hands over the first at the end.

    A second signal has its default effect: it ends the process at once, even where TensorRT does
    not come back. Only handlers written in Python are put off: signals that are ignored stay so.
    Outside the main thread, where no handlers run, it does nothing.

    Attributes:
        came: Number of the first signal; None so far.
    """

    def __init__(self) -> None:
        self.came: int | None = None
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in NAMES:
                number = getattr(signal, name, None)
                handler = None if number is None else signal.getsignal(number)
                if number is not None and callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.came is not None:  # rather than an error that it caused
            self._handlers[self.came](self.came, None)  # the usual ones raise

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = self.came or number
        signal.signal(number, signal.SIG_DFL)
