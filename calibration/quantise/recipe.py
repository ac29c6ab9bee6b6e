"""How each product of a graph is to be quantised: what calibration decides, and a graph is made of.

One decision: a recipe is complete and small. Together with the float32 graph it gives the quantised
one, so that leaving products out and trying again costs no second calibration.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from c2t.calibration.quantise.smoothing import Fold, column_factors
from c2t.calibration.ranges.products import Float32


class Form(enum.StrEnum):
    """How one product is computed."""

    int8 = "int8"  # activation and weight int8, with calibrated scales
    int8_weights = "int8-weights"  # weight int8 in blocks, activation float32
    int4_weights = "int4-weights"
    float32 = "float32"  # as it was


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductRecipe:
    """One product.

    Args:
        form: How it is computed.
        scale: Of its input, for the form int8; after smoothing.
        factors: [K] that rows of its weight are multiplied with; None: no smoothing.
        fold: Where the division by these factors goes.
    """

    form: Form
    scale: float = 1.0
    factors: Float32 | None = None
    fold: Fold | None = None


@dataclass(frozen=True, kw_only=True)
class GraphRecipe:
    """All products of one graph by name; those that are not named stay float32."""

    products: dict[str, ProductRecipe] = field(default_factory=dict)

    def without(self, names: set[str], form: Form = Form.float32) -> GraphRecipe:
        """The same with some products in another form; what was folded stays folded."""
        return GraphRecipe(
            products={
                name: ProductRecipe(
                    form=form if name in names else recipe.form,
                    scale=recipe.scale,
                    factors=recipe.factors,
                    fold=recipe.fold,
                )
                for name, recipe in self.products.items()
            }
        )

    def divisions(self, tensor: str) -> Iterator[tuple[slice, Float32]]:
        """What spans of an initializer's last dimension are to be divided by."""
        for recipe in self.products.values():
            if recipe.fold is None or recipe.factors is None:
                continue
            if tensor in recipe.fold.tensors:
                yield recipe.fold.columns, column_factors(recipe.fold, recipe.factors)

    def folded(self, tensor: str, values: Float32) -> Float32:
        """An initializer's values after all divisions that go into it."""
        divided = values
        for columns, factors in self.divisions(tensor):
            if divided is values:
                divided = np.array(values, np.float32)
            divided[..., columns] /= factors
        return divided
