"""The nodes of the one encoder graph that the native encoder computes.

See `c2t.export.encoders.bert_layer`, and `c2t.calibration.quantise.quantised_graph` for int8.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from c2t.runtime.bundle.graph_content import Node
from c2t.runtime.engines.known_graph.nodes import linear_nodes, node

ACTIVATIONS = {"Relu": "relu", "Gelu": "gelu"}  # operators, and what the kernel calls them


def linear_names(layers: int, *, own_query: bool) -> tuple[str, ...]:
    """All linears.

    Args:
        layers: Of the graph.
        own_query: Whether the last layer computes queries of its first rows only.
    """
    names = list[str]()
    for index in range(layers):
        attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"
        last = own_query and index == layers - 1
        names += [f"{attention}.{part}" for part in (("kv", "q") if last else ("qkv",))]
        names += [f"{attention}.output", f"{mlp}.up", f"{mlp}.down"]
    return tuple(names)


class ExpectedEncoder:
    """The nodes of the known encoder.

    Args:
        epsilon: Of every layer norm.
        scale: Of every attention.
        heads: Likewise.
        activation: A key of `ACTIVATIONS`.
        quantised: Names of the linears in int8.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        scale: float,
        heads: int,
        activation: str,
        quantised: Collection[str],
    ) -> None:
        self._epsilon = epsilon
        self._scale = scale
        self._heads = heads
        self._activation = activation
        self._quantised = quantised

    def nodes(self, layers: int, *, own_query: bool) -> Iterator[Node]:
        """All nodes; the arguments are those of `linear_names`."""
        hidden = "embeddings"
        for index in range(layers):
            yield from self._layer(
                f"layers.{index}", hidden, own_query=own_query and index == layers - 1
            )
            hidden = f"layers.{index}.mlp.norm"
        yield node("Identity", hidden, "output", ["hidden"])

    def _layer(self, layer: str, hidden: str, *, own_query: bool) -> Iterator[Node]:
        name, mlp = f"{layer}.attention", f"{layer}.mlp"
        packed = f"{name}.kv" if own_query else f"{name}.qkv"
        parts = [f"{name}.heads.{part}" for part in ("kv" if own_query else "qkv")]
        yield from self._linear(hidden, packed)
        yield node("Split", f"{packed}.add {name}.heads.sizes", f"{name}.heads", parts, axis=-1)
        if own_query:
            rows = f"{layer}.rows"
            yield node("Slice", f"{hidden} {rows}.start {rows}.stop {rows}.axis", rows)
            hidden = rows
            yield from self._linear(hidden, f"{name}.q")
            parts = [f"{name}.q.add", *parts]
        heads, scale = self._heads, self._scale
        yield node("Attention", parts, name, q_num_heads=heads, kv_num_heads=heads, scale=scale)
        yield from self._linear(name, f"{name}.output")
        yield node("Add", f"{name}.output.add {hidden}", f"{name}.residual")
        yield self._norm(f"{name}.norm", f"{name}.residual")
        yield from self._linear(f"{name}.norm", f"{mlp}.up")
        yield node(self._activation, f"{mlp}.up.add", f"{mlp}.activation")
        yield from self._linear(f"{mlp}.activation", f"{mlp}.down")
        yield node("Add", f"{mlp}.down.add {name}.norm", f"{mlp}.residual")
        yield self._norm(f"{mlp}.norm", f"{mlp}.residual")

    def _norm(self, name: str, value: str) -> Node:
        inputs = f"{value} {name}.weight {name}.bias"
        return node("LayerNormalization", inputs, name, axis=-1, epsilon=self._epsilon)

    def _linear(self, value: str, name: str) -> Iterator[Node]:
        """A product with a constant weight, and its bias."""
        yield from linear_nodes("MatMul", value, name, quantised=name in self._quantised)
        yield node("Add", f"{name} {name}.bias", f"{name}.add")
