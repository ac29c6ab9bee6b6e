"""How cells are grouped, and when a group has an answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from c2t.runtime.system.errors import C2TError

LEIDEN = "leiden"
# Finer than scanpy's 1: clusters that hold one type each are what a consensus needs. Measured on
# four sets of labelled cells, as is the least share: `benchmarks/results/groups.json`.
RESOLUTION = 2.5
RESOLUTION_MAX = 1000.0
MIN_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    """How cells are grouped.

    Args:
        by: A column of `obs`. "leiden": clusters of the encoder's embedding, where `obs` has no
            column of that name or a resolution is given.
        min_share: A group whose most frequent cell type has a lower share is mixed.
        resolution: Of Leiden: the higher, the more clusters. None: `RESOLUTION`.
        text: Write a text of each group from the mean of its cell vectors, if the cells are
            described by this process.
    """

    by: str
    min_share: float = MIN_SHARE
    resolution: float | None = None
    text: bool = True

    def check(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            C2TError: A share that is none, a resolution that is not positive, no name.
        """
        if not self.by:
            problem = "cells are to be grouped by a column without a name"
            raise C2TError(problem, hint=f"name a column of obs, or {LEIDEN}")
        if not 0 <= self.min_share <= 1:
            problem = f"the least share is {self.min_share:g}"
            raise C2TError(problem, hint=f"give a number from 0 to 1, such as {MIN_SHARE:g}")
        resolution = self.resolution
        if resolution is not None and not (
            math.isfinite(resolution) and 0 < resolution <= RESOLUTION_MAX
        ):
            problem = f"the resolution is {resolution:g}"
            hint = f"give a number above 0, at most {RESOLUTION_MAX:g}, such as {RESOLUTION:g}"
            raise C2TError(problem, hint=hint)

    def computed(self, columns: list[str]) -> bool:
        """Whether the groups are Leiden's: users' own clusters come first.

        Args:
            columns: Those of `obs`.
        """
        return self.by == LEIDEN and (self.resolution is not None or LEIDEN not in columns)
