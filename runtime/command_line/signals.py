"""What signals do: the first ends a command in order, the second ends the process at once.

A signal that the caller ignores stays ignored: SIGHUP under `nohup`, SIGINT in the background of a
shell script.

One decision: after the first signal the system's own handling is back. Code that never returns to
Python (HDF5 loops for ever over some damaged files) never sees an exception, and exceptions that
are raised while threads of an engine come to their end abort the process noisily. What was
described is on the disk either way, and the next run removes what was not finished.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from types import FrameType

# Windows has no SIGHUP; others have no SIGBREAK, which a parent process sends there.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
# On Linux, `struct sigaction` has a pointer to the handler, 128 bytes of mask, then the flags.
_SIZE, _FLAGS_AT = 256, ctypes.sizeof(ctypes.c_void_p) + 128
_SA_RESETHAND = 0x80000000


def handle_signals() -> None:
    """Turn the first signal that ends a process into an exception of the main thread."""
    for number in _numbers():
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
            _once(number)


def _stop(number: int, frame: FrameType | None) -> None:
    """Exit in order on a signal, so that temporary files are removed."""
    for other in _numbers():
        if signal.getsignal(other) is _stop:
            signal.signal(other, signal.SIG_DFL)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _numbers() -> list[signal.Signals]:
    return [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]


def _once(number: int) -> None:
    """Let the system restore its own handling as soon as the signal arrives, before Python runs."""
    if sys.platform != "linux":
        return
    action = ctypes.create_string_buffer(_SIZE)
    sigaction = ctypes.CDLL(None).sigaction
    if sigaction(number, None, action) != 0:
        return
    flags = ctypes.c_uint32.from_buffer(action, _FLAGS_AT)
    flags.value |= _SA_RESETHAND
    sigaction(number, action, None)
