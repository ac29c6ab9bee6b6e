"""How each linear of a graph is quantised: the output of calibration, the input of writing a graph.

One decision: a recipe is small, and complete. The float32 graph and its recipe give the quantised
graph, so another try with fewer quantised linears needs no second calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from c2t.calibration.quantise.smoothing import Fold, column_factors
from c2t.calibration.ranges.linears import Float32
from c2t.runtime.bundle.precision import Precision


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearRecipe:
    """One linear.

    Args:
        precision: Its precision; fp32 leaves it as it was.
        scale: Scale of its smoothed input, for int8.
        factors: [K] multiply the rows of its weight; None: no smoothing.
        fold: Where the division by these factors goes.
    """

    precision: Precision
    scale: float = 1.0
    factors: Float32 | None = None
    fold: Fold | None = None


@dataclass(frozen=True, kw_only=True)
class GraphRecipe:
    """The linears of one graph by name; a linear without a recipe stays float32."""

    linears: dict[str, LinearRecipe] = field(default_factory=dict)

    def without(self, names: set[str], precision: Precision = Precision.fp32) -> GraphRecipe:
        """The same with some linears in another precision; their smoothing stays."""
        return GraphRecipe(
            linears={
                name: replace(recipe, precision=precision) if name in names else recipe
                for name, recipe in self.linears.items()
            }
        )

    def divisions(self, tensor: str) -> Iterator[tuple[slice, Float32]]:
        """Spans of an initializer's last dimension, and the factors that divide each."""
        for recipe in self.linears.values():
            if recipe.fold is None or recipe.factors is None:
                continue
            if tensor in recipe.fold.tensors:
                yield recipe.fold.columns, column_factors(recipe.fold, recipe.factors)

    def folded(self, tensor: str, values: Float32) -> Float32:
        """An initializer's values after all divisions; `values` itself if there are none."""
        divided = values
        for columns, factors in self.divisions(tensor):
            if divided is values:
                divided = np.array(values, np.float32)
            divided[..., columns] /= factors
        return divided
