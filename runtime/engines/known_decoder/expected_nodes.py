"""The nodes of the one decoder graph that the step kernels compute, float32 or quantised.

See `c2t.export.decoders.layer_graph`, and `c2t.calibration.quantise.quantised_graph` for int8.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from c2t.runtime.bundle.graph_content import Node
from c2t.runtime.engines.known_graph.nodes import linear_nodes, node

OUTPUT = "output"  # the linear that gives the logits


def linear_names(layers: int) -> tuple[str, ...]:
    """All linears: four of each layer, and `OUTPUT`."""
    parts = ("attention.qkv", "attention.output", "mlp.gate_up", "mlp.down")
    return (*(f"layers.{layer}.{part}" for layer in range(layers) for part in parts), OUTPUT)


def expected_nodes(
    layers: int, epsilon: float, scale: float, quantised: Collection[str]
) -> Iterator[Node]:
    """All nodes of the known decoder.

    Args:
        layers: Decoder layers.
        epsilon: Of every RMS normalisation.
        scale: Of every attention.
        quantised: Names of the linears in int8.
    """
    return _Expected(epsilon, scale, quantised).nodes(layers)


class _Expected:
    def __init__(self, epsilon: float, scale: float, quantised: Collection[str]) -> None:
        self._epsilon = epsilon
        self._scale = scale
        self._quantised = quantised

    def nodes(self, layers: int) -> Iterator[Node]:
        yield node("Unsqueeze", "logit_rows axis.last", "logit_row_indices")
        hidden = "inputs_embeds"
        for index in range(layers):
            layer, last = f"layers.{index}", index == layers - 1
            yield from self._attention(index, hidden)
            context = f"{layer}.attention.joined"
            if last:  # only rows that want logits go on
                wanted = (f"{layer}.attention.wanted_rows", f"{layer}.residual.wanted_rows")
                for source, name in zip((context, hidden), wanted, strict=True):
                    yield node("GatherND", f"{source} logit_row_indices", name, batch_dims=1)
                context, hidden = wanted
            output, residual = f"{layer}.attention.output", f"{layer}.attention.residual"
            yield from self._linear("MatMul", context, output)
            yield node("Add", f"{hidden} {output}", residual)
            yield from self._mlp(layer, residual)
            hidden = f"{layer}.mlp.residual"
        yield self._norm("norm", hidden)
        yield node("Reshape", "norm shape.flat_rows", "output.flat")
        yield from self._linear("Gemm", "output.flat", OUTPUT, transB=1)
        yield node("Shape", "logit_rows", "output.rows")
        yield node("Concat", "output.rows shape.vocabulary", "output.shape", axis=0)
        yield node("Reshape", "output output.shape", "output.by_cell", ["logits"])

    def _norm(self, name: str, value: str) -> Node:
        epsilon = self._epsilon
        return node("RMSNormalization", f"{value} {name}.weight", name, axis=-1, epsilon=epsilon)

    def _linear(self, operator: str, value: str, name: str, **attributes: Any) -> Iterator[Node]:
        quantised = name in self._quantised
        yield from linear_nodes(operator, value, name, quantised=quantised, **attributes)

    def _attention(self, index: int, hidden: str) -> Iterator[Node]:
        """From a layer's input to the context [B, T, heads * head_size]."""
        name = f"layers.{index}.attention"
        yield self._norm(f"{name}.norm", hidden)
        yield from self._linear("MatMul", f"{name}.norm", f"{name}.qkv")
        parts = [f"{name}.heads.{part}" for part in "qkv"]
        yield node("Split", f"{name}.qkv {name}.heads.sizes", f"{name}.heads", parts, axis=-1)
        for part, shape in (("q", "query"), ("k", "kv"), ("v", "kv")):
            own = f"{name}.{part}"
            yield node("Reshape", f"{name}.heads.{part} shape.{shape}_heads", f"{own}.split")
            yield node("Transpose", f"{own}.split", f"{own}.by_head", perm=[0, 2, 1, 3])
        for part in "qk":
            tables = "rotary.cos rotary.sin position_ids"
            own = f"{name}.{part}"
            yield node("RotaryEmbedding", f"{own}.by_head {tables}", f"{own}.rotary")
        present = {part: f"present_{part}.{index}" for part in ("key", "value")}
        for part, update in (("key", f"{name}.k.rotary"), ("value", f"{name}.v.by_head")):
            inputs = f"past_{part}.{index} {update} write_index"
            yield node("TensorScatter", inputs, f"{name}.{part}_cache", [present[part]])
        read = [f"{name}.q.rotary", *present.values(), "", "", "", "kv_length"]
        yield node("Attention", read, name, is_causal=1, scale=self._scale)
        yield node("Transpose", name, f"{name}.rows", perm=[0, 2, 1, 3])
        yield node("Reshape", f"{name}.rows shape.joined_heads", f"{name}.joined")

    def _mlp(self, layer: str, residual: str) -> Iterator[Node]:
        """The MLP of a layer: down(silu(gate) * up), added to its input."""
        name = f"{layer}.mlp"
        yield self._norm(f"{name}.norm", residual)
        yield from self._linear("MatMul", f"{name}.norm", f"{name}.gate_up")
        halves = [f"{name}.halves.gate", f"{name}.halves.up"]
        sizes = f"{name}.gate_up {name}.halves.sizes"
        yield node("Split", sizes, f"{name}.halves", halves, axis=-1)
        yield node("Sigmoid", halves[:1], f"{name}.sigmoid")
        yield node("Mul", f"{halves[0]} {name}.sigmoid", f"{name}.silu")
        yield node("Mul", f"{name}.silu {halves[1]}", f"{name}.product")
        yield from self._linear("MatMul", f"{name}.product", f"{name}.down")
        yield node("Add", f"{residual} {name}.down", f"{name}.residual")
