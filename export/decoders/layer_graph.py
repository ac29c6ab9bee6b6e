"""The nodes of one decoder layer, of whatever parts it is made.

The last layer goes on with the rows that want logits after its attention: exact, and less work.
"""

from __future__ import annotations

import numpy as np

from c2t.export.decoders.parts import Attention, DecoderSizes, Layer, Matrix, Mlp, Norm
from c2t.export.graphs.graph_builder import Attribute, GraphBuilder

# Activations that are one node of ONNX.
GELU: dict[str, dict[str, Attribute]] = {"gelu": {}, "gelu_tanh": {"approximate": "tanh"}}
POSITION_INPUTS = ["rotary.cos", "rotary.sin", "position_ids"]


class LayerWriter:
    """Adds layers to a graph.

    Args:
        graph: Has the inputs, the rotary tables and the shapes of `cached_decoder`.
        sizes: Of the decoder.
        positions: Cache positions that there are at most: a window as wide is none.
        rotated: How many numbers of each head are rotated.
    """

    def __init__(
        self, graph: GraphBuilder, sizes: DecoderSizes, *, positions: int, rotated: int
    ) -> None:
        self._graph = graph
        self._sizes = sizes
        self._positions = positions
        self._rotation: dict[str, Attribute] = {}
        if rotated < sizes.head_size:
            self._rotation = {"rotary_embedding_dim": rotated}
        self._masks: dict[int, str] = {}  # by window

    def add(self, layer: Layer, hidden: str, *, index: int) -> str:
        """Add a layer over `hidden` [B, T, D]; returns its result."""
        graph, name = self._graph, f"layers.{index}"
        normed = self.norm(hidden, layer.attention_norm, name=f"{name}.attention.norm")
        context = self._attention(layer.attention, normed, index=index)
        if index == self._sizes.layers - 1:
            context = self._wanted_rows(context, name=f"{name}.attention.wanted_rows")
            hidden = self._wanted_rows(hidden, name=f"{name}.residual.wanted_rows")
        context = self._linear(context, layer.attention.output, name=f"{name}.attention.output")
        if layer.after_attention is not None:
            context = self.norm(context, layer.after_attention, name=f"{name}.attention.after")
        if layer.parallel:
            mlp = self._mlp(layer, hidden, name=f"{name}.mlp")
            both = graph.node("Add", [mlp, context], name=f"{name}.attention.residual")
            return graph.node("Add", [both, hidden], name=f"{name}.mlp.residual")
        hidden = graph.node("Add", [hidden, context], name=f"{name}.attention.residual")
        mlp = self._mlp(layer, hidden, name=f"{name}.mlp")
        return graph.node("Add", [hidden, mlp], name=f"{name}.mlp.residual")

    def norm(self, value: str, norm: Norm, *, name: str) -> str:
        """Add a norm over the last dimension; returns its result."""
        inputs = [value, self._graph.weight(f"{name}.weight", norm.weight)]
        if norm.bias is not None:
            inputs.append(self._graph.weight(f"{name}.bias", norm.bias))
        return self._graph.node(
            "LayerNormalization" if norm.centred else "RMSNormalization",
            inputs,
            name=name,
            attributes={"axis": -1, "epsilon": norm.epsilon},
        )

    def _linear(self, value: str, *matrices: Matrix, name: str) -> str:
        """Add a linear, or several that share their input as one; returns the result."""
        weights = [matrix.weight for matrix in matrices]
        return self._graph.packed_linear(
            value, weights, [matrix.bias for matrix in matrices], name=name
        )

    def _wanted_rows(self, value: str, *, name: str) -> str:
        """Gather rows [B, R, D] of [B, T, D], for each cell its own."""
        indices = "logit_row_indices"
        return self._graph.node(
            "GatherND", [value, indices], name=name, attributes={"batch_dims": 1}
        )

    def _attention(self, own: Attention, normed: str, *, index: int) -> str:
        """Add rotary attention over the updated caches; returns [B, T, heads * head_size]."""
        graph, sizes, name = self._graph, self._sizes, f"layers.{index}.attention"
        lengths = [heads * sizes.head_size for heads in (sizes.heads, *(sizes.kv_heads,) * 2)]
        packed = self._linear(normed, own.q, own.k, own.v, name=f"{name}.qkv")
        q, k, v = graph.split(packed, lengths, name=f"{name}.heads", parts=["q", "k", "v"])
        q = self._by_head(q, name=f"{name}.q", shape="shape.query_heads")
        k = self._by_head(k, name=f"{name}.k", shape="shape.kv_heads")
        v = self._by_head(v, name=f"{name}.v", shape="shape.kv_heads")
        if own.q_norm is not None:
            q = self.norm(q, own.q_norm, name=f"{name}.q.norm")
        if own.k_norm is not None:
            k = self.norm(k, own.k_norm, name=f"{name}.k.norm")
        q, k = (
            graph.node(
                "RotaryEmbedding",
                [value, *POSITION_INPUTS],
                name=f"{name}.{part}.rotary",
                attributes=self._rotation,
            )
            for part, value in (("q", q), ("k", k))
        )
        caches = [
            graph.node(
                "TensorScatter",
                [f"past_{part}.{index}", update, "write_index"],
                name=f"{name}.{part}_cache",
                outputs=[f"present_{part}.{index}"],
            )
            for part, update in (("key", k), ("value", v))
        ]
        attributes: dict[str, Attribute] = {"is_causal": 1, "scale": own.scale}
        if own.softcap:
            attributes["softcap"] = own.softcap
        context = graph.node(
            "Attention",
            [q, *caches, self._mask(own.window), "", "", "kv_length"],
            name=name,
            attributes=attributes,
        )
        context = graph.node(
            "Transpose", [context], name=f"{name}.rows", attributes={"perm": [0, 2, 1, 3]}
        )
        return graph.node("Reshape", [context, "shape.joined_heads"], name=f"{name}.joined")

    def _by_head(self, value: str, *, name: str, shape: str) -> str:
        """Turn [B, T, heads * head_size] into [B, heads, T, head_size]."""
        value = self._graph.node("Reshape", [value, shape], name=f"{name}.split")
        return self._graph.node(
            "Transpose", [value], name=f"{name}.by_head", attributes={"perm": [0, 2, 1, 3]}
        )

    def _mask(self, window: int | None) -> str:
        """Which cache positions a window leaves to each row: [B, 1, T, C] bool; "": all.

        It follows from cache positions, so that a padded row sees at least itself.
        """
        if window is None or window >= self._positions:
            return ""
        if window not in self._masks:
            self._masks[window] = self._add_mask(window)
        return self._masks[window]

    def _add_mask(self, window: int) -> str:
        graph, name = self._graph, f"window.{window}"
        if not self._masks:
            graph.constant("shape.scalar", np.zeros(0, np.int64))
            graph.constant("window.zero", np.array(0, np.int64))
            graph.constant("window.one", np.array(1, np.int64))
            graph.constant("axes.rows", np.array([1, 3], np.int64))
            self._count("window.positions", "past_key.0", axis=2)
            rows = self._count("window.rows", "inputs_embeds", axis=1)
            first = graph.node("Unsqueeze", ["write_index", "axis.last"], name="window.first")
            graph.node("Add", [first, rows], name="window.row_positions")
        graph.constant(f"{name}.size", np.array(window, np.int64))
        last = graph.node("Sub", ["window.row_positions", f"{name}.size"], name=f"{name}.hidden")
        last = graph.node("Unsqueeze", [last, "axes.rows"], name=f"{name}.hidden.rows")
        return graph.node("Greater", ["window.positions", last], name=name)

    def _count(self, name: str, value: str, *, axis: int) -> str:
        """Add 0, 1, 2, ... up to the size of a dimension of `value`."""
        size = self._graph.node(
            "Shape", [value], name=f"{name}.size", attributes={"start": axis, "end": axis + 1}
        )
        size = self._graph.node("Reshape", [size, "shape.scalar"], name=f"{name}.number")
        return self._graph.node("Range", ["window.zero", size, "window.one"], name=name)

    def _mlp(self, layer: Layer, hidden: str, *, name: str) -> str:
        """Add the MLP of a layer with the norms around it."""
        normed = self.norm(hidden, layer.mlp_norm, name=f"{name}.norm")
        value = self._linear(
            self._activated(layer.mlp, normed, name), layer.mlp.down, name=f"{name}.down"
        )
        if layer.after_mlp is not None:
            value = self.norm(value, layer.after_mlp, name=f"{name}.after")
        return value

    def _activated(self, mlp: Mlp, normed: str, name: str) -> str:
        """What the last linear of an MLP reads."""
        if mlp.gate is None:
            value = self._linear(normed, mlp.up, name=f"{name}.up")
            return self._activation(mlp, value, name)
        value = self._linear(normed, mlp.gate, mlp.up, name=f"{name}.gate_up")
        sizes = [self._sizes.intermediate_size] * 2
        gate, up = self._graph.split(value, sizes, name=f"{name}.halves", parts=["gate", "up"])
        value = self._activation(mlp, gate, name)
        return self._graph.node("Mul", [value, up], name=f"{name}.product")

    def _activation(self, mlp: Mlp, value: str, name: str) -> str:
        if mlp.activation in GELU:
            attributes = GELU[mlp.activation]
            return self._graph.node("Gelu", [value], name=f"{name}.gelu", attributes=attributes)
        sigmoid = self._graph.node("Sigmoid", [value], name=f"{name}.sigmoid")
        return self._graph.node("Mul", [value, sigmoid], name=f"{name}.silu")
