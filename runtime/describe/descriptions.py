"""Descriptions of several cells, which a notebook shows as a table."""

from __future__ import annotations

from c2t.runtime.describe.description import Description
from c2t.runtime.describe.notebook import cells_html

SHOWN_MAX = 20


class Descriptions(tuple[Description, ...]):
    """Descriptions that show themselves: `c2t.Descriptions(model.describe(cells))`."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """The first 20, and how many more there are."""
        lines = [one.line for one in self[:SHOWN_MAX]]
        return cells_html(lines, more=len(self) - len(lines))
