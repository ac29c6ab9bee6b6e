"""Standard input and output for the protocol alone.

One decision: the protocol gets copies of the descriptors, and standard output becomes standard
error. So no `print`, of ours or of a library in any language, can break a line of the protocol.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO

from c2t.runtime.system.errors import C2TError

STDIN, STDOUT, STDERR = 0, 1, 2


@contextmanager
def protocol_streams() -> Iterator[tuple[FileIO, FileIO]]:
    """Take standard input and output from everyone else; open the bundle inside.

    Yields:
        Input and output: bytes, without a buffer, also on Windows.

    Raises:
        C2TError: The process was started without one of them.
    """
    source, sink = _taken(STDIN), _taken(STDOUT)
    before = sys.stdout
    before.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nothing, STDIN)
        try:
            os.dup2(STDERR, STDOUT)
        except OSError:  # it was started without standard error
            os.dup2(nothing, STDOUT)
        sys.stdout = sys.stderr
        yield FileIO(source, "rb", closefd=False), FileIO(sink, "wb", closefd=False)
    finally:
        with suppress(OSError):
            before.flush()
        sys.stdout = before
        os.dup2(source, STDIN)
        os.dup2(sink, STDOUT)
        os.close(nothing)
        os.close(sink)  # not `source`: a thread may be reading from it until the process ends


def _taken(descriptor: int) -> int:
    """A copy of a descriptor that waits, that no child inherits, and that changes no line feed."""
    # One that was closed at the start may by now belong to another file.
    if (sys.__stdin__, sys.__stdout__)[descriptor] is None:
        problem = f"standard {('input', 'output')[descriptor]} is closed"
        raise C2TError(problem, hint="start `c2t serve --stdio` with a pipe at both")
    copy = os.dup(descriptor)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(copy, os.O_BINARY)
    else:
        os.set_blocking(copy, True)
    return copy
