"""A table of cells or genes that is held in memory: names, and columns of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from c2t.runtime.system.errors import CellFileError


class NamesTable:
    """Names of rows with columns, all as texts.

    Args:
        key: What messages call it: "var".
        names: The names of the rows.
        columns: Further columns, each as long.
    """

    def __init__(
        self, key: str, names: Sequence[str], columns: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._key = key
        self._names = names
        self._columns = dict(columns or {})

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""
        return list(self._columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._names)

    def index(self) -> list[str]:
        """The names of the rows."""
        return list(self._names)

    def column(self, name: str) -> list[str]:
        """A column as strings.

        Raises:
            CellFileError: There is no such column.
        """
        if name not in self._columns:
            shown = ", ".join(self.columns[:20])
            hint = f"the columns are: {shown}" if shown else "the table has no columns"
            problem = f"{self._key}/{name} is missing"
            raise CellFileError(problem, hint=hint)
        return list(self._columns[name])
