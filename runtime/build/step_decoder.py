"""The one decoder graph that the step kernel computes, node by node.

One decision: a graph must be exactly this one. The kernel reads weights, not nodes: a norm, a bias
or a soft cap that it does not know would be left out of every text without a word. So each node is
compared with what `c2t.export.decoders.llama` writes: operator, inputs, outputs and attributes. So
are the constants that say how values are cut. Only numbers that the kernel takes as arguments may
differ: the sizes, the epsilon and the attention scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from c2t.runtime.graphs.data_file import read_graph, stored_values
from c2t.runtime.system.errors import BundleError

OPSET = 24


class UnknownDecoderError(BundleError):
    """A decoder that the step kernel would compute wrongly; ONNX Runtime runs all of it."""


@dataclass(frozen=True, kw_only=True)
class KnownDecoder:
    """A decoder graph that was recognised as a whole.

    Args:
        layers: Decoder layers.
        epsilon: Of every RMS normalisation.
        attention_scale: What products of queries and keys are multiplied by.
        values: Float32 initializers by name, mapped from the data file.
    """

    layers: int
    epsilon: float
    attention_scale: float
    values: dict[str, NDArray[np.float32]]


def recognise_decoder(path: Path) -> KnownDecoder:
    """Recognise a decoder graph.

    Args:
        path: The float32 `decoder.onnx` of a bundle, its data file beside it.

    Raises:
        UnknownDecoderError: A node, an attribute, an input, a constant or a shape is not that of
            the known decoder; the first difference is named.
    """
    model = read_graph(path)
    graph = model.graph
    if {(o.domain or "ai.onnx"): o.version for o in model.opset_import} != {"ai.onnx": OPSET}:
        _refuse(f"is not of opset {OPSET} alone")
    if model.functions:
        _refuse(f"has a function {model.functions[0].name}")
    nodes = {node.name: node for node in graph.node}
    layers = sum(node.op_type == "Attention" for node in graph.node)
    epsilon = _number(nodes.get("norm"), "epsilon")
    scale = _number(nodes.get("layers.0.attention"), "scale")
    _compare_nodes(graph.node, [*_expected_nodes(layers, epsilon, scale)])
    _compare_ends(graph, layers)
    values = {t.name: stored_values(t, path) for t in graph.initializer}
    _compare_tensors(values, layers)
    return KnownDecoder(
        layers=layers,
        epsilon=epsilon,
        attention_scale=scale,
        values={name: value for name, value in values.items() if value.dtype == np.float32},
    )


def _node(
    op: str, inputs: str | Sequence[str], name: str, outputs: Sequence[str] = (), **attributes: Any
) -> onnx.NodeProto:
    """A node; without `outputs` its one output has its name."""
    names = inputs.split() if isinstance(inputs, str) else inputs
    return onnx.helper.make_node(op, names, list(outputs) or [name], name=name, **attributes)


def _expected_nodes(layers: int, epsilon: float, scale: float) -> Iterator[onnx.NodeProto]:
    """All nodes of the known decoder, see `c2t.export.decoders.llama`."""
    yield _node("Unsqueeze", "logit_rows axis.last", "logit_row_indices")
    hidden = "inputs_embeds"
    for index in range(layers):
        layer, last = f"layers.{index}", index == layers - 1
        yield from _expected_attention(index, hidden, epsilon, scale)
        context = f"{layer}.attention.joined"
        if last:  # only rows that want logits go on
            wanted = (f"{layer}.attention.wanted_rows", f"{layer}.residual.wanted_rows")
            for source, name in zip((context, hidden), wanted, strict=True):
                yield _node("GatherND", f"{source} logit_row_indices", name, batch_dims=1)
            context, hidden = wanted
        output, residual = f"{layer}.attention.output", f"{layer}.attention.residual"
        yield _node("MatMul", f"{context} {output}.weight", output)
        yield _node("Add", f"{hidden} {output}", residual)
        yield from _expected_mlp(layer, residual, epsilon)
        hidden = f"{layer}.mlp.residual"
    yield _norm("norm", hidden, epsilon)
    yield _node("Reshape", "norm shape.flat_rows", "output.flat")
    yield _node("Gemm", "output.flat output.weight", "output", transB=1)
    yield _node("Shape", "logit_rows", "output.rows")
    yield _node("Concat", "output.rows shape.vocabulary", "output.shape", axis=0)
    yield _node("Reshape", "output output.shape", "output.by_cell", ["logits"])


def _norm(name: str, value: str, epsilon: float) -> onnx.NodeProto:
    return _node("RMSNormalization", f"{value} {name}.weight", name, axis=-1, epsilon=epsilon)


def _expected_attention(
    index: int, hidden: str, epsilon: float, scale: float
) -> Iterator[onnx.NodeProto]:
    """From a layer's input to the context [B, T, heads * head_size]."""
    name = f"layers.{index}.attention"
    yield _norm(f"{name}.norm", hidden, epsilon)
    yield _node("MatMul", f"{name}.norm {name}.qkv.weight", f"{name}.qkv")
    parts = [f"{name}.heads.{part}" for part in "qkv"]
    yield _node("Split", f"{name}.qkv {name}.heads.sizes", f"{name}.heads", parts, axis=-1)
    for part, shape in (("q", "query"), ("k", "kv"), ("v", "kv")):
        own = f"{name}.{part}"
        yield _node("Reshape", f"{name}.heads.{part} shape.{shape}_heads", f"{own}.split")
        yield _node("Transpose", f"{own}.split", f"{own}.by_head", perm=[0, 2, 1, 3])
    for part in "qk":
        tables = "rotary.cos rotary.sin position_ids"
        own = f"{name}.{part}"
        yield _node("RotaryEmbedding", f"{own}.by_head {tables}", f"{own}.rotary")
    present = {part: f"present_{part}.{index}" for part in ("key", "value")}
    for part, update in (("key", f"{name}.k.rotary"), ("value", f"{name}.v.by_head")):
        inputs = f"past_{part}.{index} {update} write_index"
        yield _node("TensorScatter", inputs, f"{name}.{part}_cache", [present[part]])
    read = [f"{name}.q.rotary", *present.values(), "", "", "", "kv_length"]
    yield _node("Attention", read, name, is_causal=1, scale=scale)
    yield _node("Transpose", name, f"{name}.rows", perm=[0, 2, 1, 3])
    yield _node("Reshape", f"{name}.rows shape.joined_heads", f"{name}.joined")


def _expected_mlp(layer: str, residual: str, epsilon: float) -> Iterator[onnx.NodeProto]:
    """The MLP of a layer: down(silu(gate) * up), added to its input."""
    name = f"{layer}.mlp"
    yield _norm(f"{name}.norm", residual, epsilon)
    yield _node("MatMul", f"{name}.norm {name}.gate_up.weight", f"{name}.gate_up")
    halves = [f"{name}.halves.gate", f"{name}.halves.up"]
    yield _node("Split", f"{name}.gate_up {name}.halves.sizes", f"{name}.halves", halves, axis=-1)
    yield _node("Sigmoid", halves[:1], f"{name}.sigmoid")
    yield _node("Mul", f"{halves[0]} {name}.sigmoid", f"{name}.silu")
    yield _node("Mul", f"{name}.silu {halves[1]}", f"{name}.product")
    yield _node("MatMul", f"{name}.product {name}.down.weight", f"{name}.down")
    yield _node("Add", f"{residual} {name}.down", f"{name}.residual")


def _compare_nodes(nodes: Sequence[onnx.NodeProto], expected: Sequence[onnx.NodeProto]) -> None:
    """Compare all nodes by their names; unknown ones are named first."""
    known = {node.name: node for node in expected}
    names = [node.name for node in nodes]
    for node in nodes:
        if node.name not in known or node.op_type != known[node.name].op_type or node.domain:
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            _refuse(f"has {node.name} ({operator}), which the step kernel does not know")
    for node in expected:
        if (count := names.count(node.name)) != 1:
            number = "no" if not count else f"{count} times"
            _refuse(f"has {number} {node.name} ({node.op_type})")
    for node in nodes:
        wanted = known[node.name]
        for verb, ours, theirs in (
            ("reads", wanted.input, node.input),
            ("writes", wanted.output, node.output),
        ):
            if list(ours) != list(theirs):
                _refuse(
                    f"has {node.name} ({node.op_type}), which {verb} {', '.join(theirs)}, "
                    f"not {', '.join(ours)}"
                )
        ours, theirs = _attributes(wanted), _attributes(node)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                _refuse(
                    f"has {node.name} ({node.op_type}), whose {name} is {theirs.get(name)}, "
                    f"not {ours.get(name)}"
                )


def _compare_ends(graph: onnx.GraphProto, layers: int) -> None:
    """Compare the names of inputs and outputs."""
    caches = [f"{part}.{layer}" for layer in range(layers) for part in ("key", "value")]
    arguments = ("inputs_embeds", "position_ids", "write_index", "kv_length", "logit_rows")
    for kind, values, known in (
        ("inputs", graph.input, [*arguments, *(f"past_{name}" for name in caches)]),
        ("outputs", graph.output, ["logits", *(f"present_{name}" for name in caches)]),
    ):
        names = [value.name for value in values]
        if names != known:
            different = min(set(names) ^ set(known), default="their order")
            _refuse(f"has other {kind}: {different}")
    for value in (*graph.input, *graph.output):
        integers = value.name in arguments[1:]
        element = TensorProto.INT64 if integers else TensorProto.FLOAT
        if value.type.tensor_type.elem_type != element:
            _refuse(f"has {value.name} of another type")


def _compare_tensors(values: dict[str, NDArray[Any]], layers: int) -> None:
    """Compare the shapes of the weights with each other, and the constants with those shapes."""

    def shape(name: str) -> tuple[int, ...]:
        return values[name].shape if name in values else ()

    heads, head_size = _last_two(values.get("shape.query_heads"))
    kv_heads, _ = _last_two(values.get("shape.kv_heads"))
    attended, cached = heads * head_size, kv_heads * head_size
    hidden_size = (*shape("norm.weight"), 0)[0]
    intermediate_size = (*shape("layers.0.mlp.down.weight"), 0)[0]
    vocabulary_size = (*shape("output.weight"), 0)[0]
    positions = (*shape("rotary.cos"), 0)[0]
    weights = {"output.weight": (vocabulary_size, hidden_size), "norm.weight": (hidden_size,)}
    weights |= {f"rotary.{name}": (positions, head_size // 2) for name in ("cos", "sin")}
    constants: dict[str, list[int]] = {
        "axis.last": [-1],
        "shape.query_heads": [0, 0, heads, head_size],
        "shape.kv_heads": [0, 0, kv_heads, head_size],
        "shape.joined_heads": [0, 0, -1],
        "shape.flat_rows": [-1, hidden_size],
        "shape.vocabulary": [vocabulary_size],
    }
    for index in range(layers):
        attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"
        weights |= {
            f"{attention}.norm.weight": (hidden_size,),
            f"{attention}.qkv.weight": (hidden_size, attended + 2 * cached),
            f"{attention}.output.weight": (attended, hidden_size),
            f"{mlp}.norm.weight": (hidden_size,),
            f"{mlp}.gate_up.weight": (hidden_size, 2 * intermediate_size),
            f"{mlp}.down.weight": (intermediate_size, hidden_size),
        }
        constants[f"{attention}.heads.sizes"] = [attended, cached, cached]
        constants[f"{mlp}.halves.sizes"] = [intermediate_size] * 2
    for name, expected in weights.items():
        if name not in values or values[name].dtype != np.float32 or shape(name) != expected:
            _refuse(f"has no float32 {name} of the shape {list(expected)}")
    for name, numbers in constants.items():
        constant = values.get(name)
        if constant is None or constant.dtype != np.int64 or constant.tolist() != numbers:
            stored = None if constant is None else constant.tolist()
            _refuse(f"has {name} = {stored}, not {numbers}")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _number(node: onnx.NodeProto | None, attribute: str) -> float:
    """An attribute that the kernel takes as an argument; 0, which no node has, without it."""
    value = _attributes(node).get(attribute) if node is not None else None
    return value if isinstance(value, float) else 0.0


def _last_two(constant: NDArray[Any] | None) -> tuple[int, int]:
    """Heads and head_size of a constant [0, 0, heads, head_size]; (0, 0) of another one."""
    if constant is None or constant.shape != (4,):
        return 0, 0
    return int(constant[2]), int(constant[3])


def _refuse(what: str) -> NoReturn:
    problem = f"the decoder {what}"
    raise UnknownDecoderError(problem)
