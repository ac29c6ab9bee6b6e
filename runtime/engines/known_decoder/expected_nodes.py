"""The nodes of the decoder graphs that the step kernels compute, float32 or quantised.

See `c2t.export.decoders.layer_graph`, and `c2t.calibration.quantise.quantised_graph` for int8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from c2t.runtime.bundle.graph_content import Node
from c2t.runtime.engines.known_decoder.form import OUTPUT, WINDOW, DecoderForm
from c2t.runtime.engines.known_graph.nodes import linear_nodes, node

# Of the activations that are one node.
GELU: dict[str, dict[str, Any]] = {"gelu": {}, "gelu_tanh": {"approximate": b"tanh"}}


def expected_nodes(form: DecoderForm) -> Iterator[Node]:
    """All nodes of a decoder of that form."""
    yield node("Unsqueeze", "logit_rows axis.last", "logit_row_indices")
    yield from _masks(form)
    hidden = "inputs_embeds"
    if form.embeddings_are_scaled:
        yield node("Mul", f"{hidden} embedding.scale", "embedding.scaled")
        hidden = "embedding.scaled"
    parts = _Parts(form)
    for index in range(form.layers):
        yield from parts.layer(index, hidden)
        hidden = f"layers.{index}.mlp.residual"
    yield parts.norm("norm", hidden)
    yield node("Reshape", "norm shape.flat_rows", "output.flat")
    yield from parts.linear("Gemm", "output.flat", OUTPUT, transB=1)
    logits = OUTPUT
    if form.logits_are_capped:
        yield node("Mul", f"{OUTPUT} output.cap.inverse", "output.divided")
        yield node("Tanh", "output.divided", "output.tanh")
        yield node("Mul", "output.tanh output.cap", "output.capped")
        logits = "output.capped"
    yield node("Shape", "logit_rows", "output.rows")
    yield node("Concat", "output.rows shape.vocabulary", "output.shape", axis=0)
    yield node("Reshape", f"{logits} output.shape", "output.by_cell", ["logits"])


def _masks(form: DecoderForm) -> Iterator[Node]:
    """Which cache positions each row sees, of every window."""
    windows = sorted(set(form.windows) - {0})
    if not windows:
        return
    for name, value, axis in (("positions", "past_key.0", 2), ("rows", "inputs_embeds", 1)):
        own = f"{WINDOW}{name}"
        yield node("Shape", value, f"{own}.size", start=axis, end=axis + 1)
        yield node("Reshape", f"{own}.size shape.scalar", f"{own}.number")
        yield node("Range", f"window.zero {own}.number window.one", own)
    yield node("Unsqueeze", "write_index axis.last", "window.first")
    yield node("Add", "window.first window.rows", "window.row_positions")
    for window in windows:
        own = f"{WINDOW}{window}"
        yield node("Sub", f"window.row_positions {own}.size", f"{own}.hidden")
        yield node("Unsqueeze", f"{own}.hidden axes.rows", f"{own}.hidden.rows")
        yield node("Greater", f"window.positions {own}.hidden.rows", own)


class _Parts:
    """The nodes of a decoder's parts."""

    def __init__(self, form: DecoderForm) -> None:
        self._form = form

    def layer(self, index: int, hidden: str) -> Iterator[Node]:
        """A layer over its input."""
        form, layer = self._form, f"layers.{index}"
        name = f"{layer}.attention"
        yield from self._attention(index, hidden)
        context = f"{name}.joined"
        if index == form.layers - 1:  # only rows that want logits go on
            wanted = (f"{name}.wanted_rows", f"{layer}.residual.wanted_rows")
            for source, gathered in zip((context, hidden), wanted, strict=True):
                yield node("GatherND", f"{source} logit_row_indices", gathered, batch_dims=1)
            context, hidden = wanted
        yield from self.linear("MatMul", context, f"{name}.output")
        attended = self._result(f"{name}.output")
        if form.norms_behind:
            yield self._rms_norm(f"{name}.after", attended)
            attended = f"{name}.after"
        residual, end = f"{name}.residual", f"{layer}.mlp.residual"
        if form.parallel:
            yield from self._mlp(layer, hidden)
            yield node("Add", f"{self._mlp_result(layer)} {attended}", residual)
            yield node("Add", f"{residual} {hidden}", end)
            return
        yield node("Add", f"{hidden} {attended}", residual)
        yield from self._mlp(layer, residual)
        yield node("Add", f"{residual} {self._mlp_result(layer)}", end)

    def norm(self, name: str, value: str) -> Node:
        """A norm of a layer's input, or the last one."""
        if not self._form.centred:
            return self._rms_norm(name, value)
        inputs = f"{value} {name}.weight {name}.bias"
        return node("LayerNormalization", inputs, name, axis=-1, epsilon=self._form.epsilon)

    def linear(self, operator: str, value: str, name: str, **attributes: Any) -> Iterator[Node]:
        """A linear, and its bias where it has one."""
        quantised = name in self._form.quantised
        yield from linear_nodes(operator, value, name, quantised=quantised, **attributes)
        if name in self._form.biased:
            yield node("Add", f"{name} {name}.bias", f"{name}.add")

    def _result(self, linear: str) -> str:
        return f"{linear}.add" if linear in self._form.biased else linear

    def _rms_norm(self, name: str, value: str) -> Node:
        epsilon = self._form.epsilon
        return node("RMSNormalization", f"{value} {name}.weight", name, axis=-1, epsilon=epsilon)

    def _attention(self, index: int, hidden: str) -> Iterator[Node]:
        """From a layer's input to the context [B, T, heads * head_size]."""
        form, name = self._form, f"layers.{index}.attention"
        yield self.norm(f"{name}.norm", hidden)
        yield from self.linear("MatMul", f"{name}.norm", f"{name}.qkv")
        parts = [f"{name}.heads.{part}" for part in "qkv"]
        packed = f"{self._result(f'{name}.qkv')} {name}.heads.sizes"
        yield node("Split", packed, f"{name}.heads", parts, axis=-1)
        for part, shape in (("q", "query"), ("k", "kv"), ("v", "kv")):
            own = f"{name}.{part}"
            yield node("Reshape", f"{name}.heads.{part} shape.{shape}_heads", f"{own}.split")
            yield node("Transpose", f"{own}.split", f"{own}.by_head", perm=[0, 2, 1, 3])
        rotation: dict[str, Any] = (
            {} if form.rotated is None else {"rotary_embedding_dim": form.rotated}
        )
        for part in "qk":
            own, tables = f"{name}.{part}", "rotary.cos rotary.sin position_ids"
            value = f"{own}.by_head"
            if form.head_norms:
                yield self._rms_norm(f"{own}.norm", value)
                value = f"{own}.norm"
            yield node("RotaryEmbedding", f"{value} {tables}", f"{own}.rotary", **rotation)
        present = {part: f"present_{part}.{index}" for part in ("key", "value")}
        for part, update in (("key", f"{name}.k.rotary"), ("value", f"{name}.v.by_head")):
            inputs = f"past_{part}.{index} {update} write_index"
            yield node("TensorScatter", inputs, f"{name}.{part}_cache", [present[part]])
        window = form.windows[index]
        mask = f"{WINDOW}{window}" if window else ""
        read = [f"{name}.q.rotary", *present.values(), mask, "", "", "kv_length"]
        cap: dict[str, Any] = {"softcap": form.attention_cap} if form.attention_cap else {}
        yield node("Attention", read, name, is_causal=1, scale=form.scale, **cap)
        yield node("Transpose", name, f"{name}.rows", perm=[0, 2, 1, 3])
        yield node("Reshape", f"{name}.rows shape.joined_heads", f"{name}.joined")

    def _mlp(self, layer: str, value: str) -> Iterator[Node]:
        """The MLP of a layer: down(activation(gate) * up), or down(activation(up))."""
        form, name = self._form, f"{layer}.mlp"
        yield self.norm(f"{name}.norm", value)
        wide = f"{name}.{form.wide}"
        yield from self.linear("MatMul", f"{name}.norm", wide)
        value = self._result(wide)
        if form.gated:
            halves = [f"{name}.halves.gate", f"{name}.halves.up"]
            yield node("Split", f"{value} {name}.halves.sizes", f"{name}.halves", halves, axis=-1)
            value = halves[0]
        if form.activation in GELU:
            activated = f"{name}.gelu"
            yield node("Gelu", value, activated, **GELU[form.activation])
        else:
            activated = f"{name}.silu"
            yield node("Sigmoid", value, f"{name}.sigmoid")
            yield node("Mul", f"{value} {name}.sigmoid", activated)
        if form.gated:
            yield node("Mul", f"{activated} {name}.halves.up", f"{name}.product")
            activated = f"{name}.product"
        yield from self.linear("MatMul", activated, f"{name}.down")
        if form.norms_behind:
            yield self._rms_norm(f"{name}.after", self._result(f"{name}.down"))

    def _mlp_result(self, layer: str) -> str:
        return (
            f"{layer}.mlp.after" if self._form.norms_behind else self._result(f"{layer}.mlp.down")
        )
