"""Whether what every prompt begins with stays out of int8, and its keys and values in that case.

One decision: the prefix is left out of calibration and kept in float32 where it widens the range of
a linear's input to `WIDER` times that of the cells' own tokens or more. A scale that much coarser
loses two of eight bits for every cell. Elsewhere nothing is gained, and the bundle stays one that
older versions of c2t open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from c2t.calibration.quantise.recipe import GraphRecipe
from c2t.calibration.quantise.smoothing import column_factors, value_columns
from c2t.calibration.ranges.activation_statistics import ChannelStatistics
from c2t.calibration.ranges.linears import Float32, StoredGraph
from c2t.calibration.results.calibration import FloatPrefixReport, WidenedLinear
from c2t.runtime.bundle.constant_prefix import ConstantPrefix

WIDER = 4.0
WIDENING_MAX = 1e9  # reported where the cells' own tokens give nothing but zeros


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatPrefix:
    """The prefix that a quantised bundle keeps in float32.

    Args:
        token_ids: Text tokens [P].
        caches: Keys and values [1,KV,P,head_size] of the float32 graph, layer by layer.
        widened: Linears whose input it widens, the most first.
    """

    token_ids: tuple[int, ...]
    caches: Sequence[Float32]
    widened: tuple[WidenedLinear, ...]

    def under(self, graph: StoredGraph, recipe: GraphRecipe) -> ConstantPrefix:
        """Keys and values as the quantised graph has them.

        Args:
            graph: The float32 decoder.
            recipe: What it is quantised by. Where attention's output is smoothed, the graph's
                values are divided by the factors; the float32 graph's are not.
        """
        layers, (heads, tokens, size) = len(self.caches) // 2, self.caches[0].shape[1:]
        whole = np.concatenate(self.caches).reshape(layers, 2, heads, tokens, size)
        for layer in range(layers):
            place = value_columns(graph, f"present_value.{layer}")
            for linear in recipe.linears.values() if place is not None else ():
                fold, factors = linear.fold, linear.factors
                if fold is None or factors is None or (fold.tensors[0], fold.columns) != place:
                    continue
                whole[layer, 1] /= column_factors(fold, factors).reshape(heads, 1, size)
        return ConstantPrefix(token_ids=self.token_ids, keys_values=whole)


def widened_linears(statistics: Mapping[str, ChannelStatistics]) -> tuple[WidenedLinear, ...]:
    """Linears of the decoder whose input is `WIDER` times as large in the prefix as behind it."""
    found = []
    for name, channels in statistics.items():
        prefix = float(channels.prefix_largest.max(initial=0.0))
        behind = float(channels.cells_largest.max(initial=0.0))
        times = min(prefix / behind, WIDENING_MAX) if behind else WIDENING_MAX
        if prefix and times >= WIDER:
            found.append(WidenedLinear(linear=name, times=times))
    return tuple(sorted(found, key=lambda item: (-item.times, item.linear)))


def prefix_report(prefix: FloatPrefix | None) -> FloatPrefixReport | None:
    """What `calibration.json` says of it."""
    if prefix is None:
        return None
    return FloatPrefixReport(tokens=len(prefix.token_ids), widened=prefix.widened)
