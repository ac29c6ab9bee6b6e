"""Lines of a CSV writer, ended with a plain newline, whatever their values hold."""

from __future__ import annotations

from typing import IO


class PlainNewlines:
    """Takes the lines of a CSV writer and ends them with a plain newline.

    The writer quotes the characters of its line ends. Told to end lines with a plain newline, it
    leaves a carriage return within a text as it is, and readers see two lines.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        """Write one line."""
        return self._stream.write(line.removesuffix("\r\n") + "\n")
