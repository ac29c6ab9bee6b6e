"""The hash of texts: what an audit trail says of the descriptions that were given.

One line of JSON for each cell, `["cell id","text"]`, or `["cell id",null,"error"]` where there is
no text, in the order of the cells, in UTF-8 without blanks; SHA-256 over all of them. So it can be
computed again from any output, whatever its format.
"""

from __future__ import annotations

import hashlib

from c2t.runtime.audit.line import encode


class TextsHash:
    """Takes cells one after another.

    Attributes:
        cells: How many it has taken.
        failed: How many of them have an error.
    """

    def __init__(self) -> None:
        self.cells = 0
        self.failed = 0
        self._hash = hashlib.sha256()

    def add(self, cell: str, text: str | None, error: str | None = None) -> None:
        """Take a cell; where there is an error, its text does not count."""
        self.cells += 1
        self.failed += bool(error)
        line = [cell, None, error] if error else [cell, text]
        self._hash.update(encode(line) + b"\n")

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._hash.hexdigest()
