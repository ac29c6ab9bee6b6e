"""The door of a child process: its parent is the only peer."""

from __future__ import annotations

from io import RawIOBase

from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.conversation import Conversation, StdioOptions

PIPE_CLOSED = 141  # as of the other commands


def run_stdio(
    room: EngineRoom,
    stdin: RawIOBase,
    stdout: RawIOBase,
    *,
    options: StdioOptions | None = None,
) -> int:
    """Talk with the parent process until it ends the input, or asks for the end.

    Args:
        room: Describes; it stays open.
        stdin: See `c2t.runtime.serve.stdio.streams.protocol_streams`.
        stdout: See there.
        options: What the parent may ask for.

    Returns:
        The exit code: 0, all requests were answered; 141, the parent does not read any more.
    """
    try:
        Conversation(room, stdin, stdout, options=options or StdioOptions()).run()
    except ConnectionError:  # a closed pipe or socket
        return PIPE_CLOSED
    return 0
