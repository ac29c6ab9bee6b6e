"""A column of few different texts, filled row by row."""

from __future__ import annotations

import numpy as np

from c2t.runtime.output.h5ad_elements import Categorical

_MISSING = -1


class Categories:
    """A column that becomes categorical.

    Args:
        rows: Its length.
        missing: The text of rows that are not set; None: they are missing.
    """

    def __init__(self, rows: int, *, missing: str | None = None) -> None:
        self._code_of: dict[str, int] = {}
        code = _MISSING if missing is None else self._code(missing)
        self._codes = np.full(rows, code, np.int32)

    def __len__(self) -> int:
        return len(self._code_of)

    def set(self, row: int, text: str | None) -> None:
        """Set the text of a row; None leaves it."""
        if text is not None:
            self._codes[row] = self._code(text)

    def count(self, text: str) -> int:
        """How many rows have a text."""
        return int(np.count_nonzero(self._codes == self._code_of.get(text, _MISSING - 1)))

    def sorted(self) -> Categorical:
        """The column; its categories are those that rows have, in order, as pandas has them."""
        used = set(np.unique(self._codes).tolist())
        names = sorted(name for name, code in self._code_of.items() if code in used)
        new = np.full(len(self._code_of) + 1, _MISSING, np.int32)  # the last is a missing one's
        for place, name in enumerate(names):
            new[self._code_of[name]] = place
        return Categorical(tuple(names), new[self._codes])

    def _code(self, text: str) -> int:
        return self._code_of.setdefault(text, len(self._code_of))
