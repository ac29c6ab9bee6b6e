"""The one decoder graph that the step kernels compute, compared node by node.

One decision: a graph must be exactly this one. A kernel reads weights, not nodes: a norm, a bias
or a soft cap that it does not know would be left out of every text without a word. So each node is
compared with what export and calibration write: operator, inputs, outputs and attributes. So are
the constants that say how values are cut. Only numbers that a kernel takes as arguments may differ:
the sizes, the epsilon, the attention scale, and which linears are in int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer, Int8Matrix
from c2t.runtime.bundle.graph_content import GraphContent, Node, read_content
from c2t.runtime.engines.known_decoder.expected_nodes import (
    OUTPUT,
    ZERO,
    expected_nodes,
    linear_names,
)
from c2t.runtime.system.errors import BundleError

OPSET = 24
# Numbers of types in onnx.proto.
FLOAT, INT64 = 1, 7

Values = dict[str, NDArray[Any]]


class UnknownDecoderError(BundleError):
    """A decoder that a step kernel would compute wrongly; ONNX Runtime runs all of it."""


@dataclass(frozen=True, kw_only=True)
class KnownDecoder:
    """A decoder graph that was recognised as a whole.

    Args:
        sizes: Of the decoder.
        epsilon: Of every RMS normalisation.
        attention_scale: What products of queries and keys are multiplied by.
        quantised: Names of the linears in int8; the others are float32.
        values: Initializers by name, mapped from the data file.
    """

    sizes: StepSizes
    epsilon: float
    attention_scale: float
    quantised: frozenset[str]
    values: Values

    def host(self) -> HostDecoder:
        """Its weights, as the definition and the packing read them."""

        def layer(index: int) -> HostLayer:
            attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"
            return HostLayer(
                attention_norm=self.values[f"{attention}.norm.weight"],
                qkv=self._matrix(f"{attention}.qkv"),
                o=self._matrix(f"{attention}.output"),
                mlp_norm=self.values[f"{mlp}.norm.weight"],
                gate_up=self._matrix(f"{mlp}.gate_up"),
                down=self._matrix(f"{mlp}.down"),
            )

        return HostDecoder(
            layers=[layer(index) for index in range(self.sizes.layers)],
            norm=self.values["norm.weight"],
            lm_head=self._matrix(OUTPUT),
            cosines=self.values["rotary.cos"],
            sines=self.values["rotary.sin"],
            epsilon=self.epsilon,
            scale=self.attention_scale,
        )

    def _matrix(self, linear: str) -> Any:
        weight = self.values[f"{linear}.weight"]
        if linear not in self.quantised:
            return weight
        return Int8Matrix(
            values=weight,
            scales=self.values[f"{linear}.weight.scale"],
            input_scale=self.values[f"{linear}.input.scale"].item(),
        )


def recognise_decoder(path: Path) -> KnownDecoder:
    """Recognise a decoder graph.

    Args:
        path: The `decoder.onnx` of a bundle, its data file beside it.

    Raises:
        UnknownDecoderError: A node, an attribute, an input, a constant or a shape is not that of
            the known decoder; the first difference is named.
        BundleError: The graph cannot be read.
    """
    graph = read_content(path)
    if graph.opsets != {"": OPSET}:
        _refuse(f"is not of opset {OPSET} alone")
    if graph.functions:
        _refuse("has a function of its own")
    nodes = {node.name: node for node in graph.nodes}
    layers = sum(node.operator == "Attention" for node in graph.nodes)
    epsilon = _number(nodes.get("norm"), "epsilon")
    scale = _number(nodes.get("layers.0.attention"), "scale")
    linears = linear_names(layers)
    quantised = frozenset(name for name in linears if f"{name}.input.quantize" in nodes)
    _compare_nodes(graph.nodes, [*expected_nodes(layers, epsilon, scale, quantised)])
    _compare_ends(graph, layers)
    sizes = _compare_tensors(graph.values, layers, quantised)
    return KnownDecoder(
        sizes=sizes,
        epsilon=epsilon,
        attention_scale=scale,
        quantised=quantised,
        values=graph.values,
    )


def _compare_nodes(nodes: Sequence[Node], expected: Sequence[Node]) -> None:
    """Compare all nodes by their names; unknown ones are named first."""
    known = {node.name: node for node in expected}
    names = [node.name for node in nodes]
    for node in nodes:
        if node.name not in known or node.operator != known[node.name].operator or node.domain:
            operator = f"{node.domain}.{node.operator}" if node.domain else node.operator
            _refuse(f"has {node.name} ({operator}), which the step kernel does not know")
    for node in expected:
        if (count := names.count(node.name)) != 1:
            number = "no" if not count else f"{count} times"
            _refuse(f"has {number} {node.name} ({node.operator})")
    for node in nodes:
        wanted = known[node.name]
        for verb, ours, theirs in (
            ("reads", wanted.inputs, node.inputs),
            ("writes", wanted.outputs, node.outputs),
        ):
            if ours != theirs:
                _refuse(
                    f"has {node.name} ({node.operator}), which {verb} {', '.join(theirs)}, "
                    f"not {', '.join(ours)}"
                )
        for name in sorted(wanted.attributes.keys() | node.attributes.keys()):
            if name in node.attributes and node.attributes[name] is None:
                _refuse(f"has {node.name} ({node.operator}), whose {name} cannot be read")
            if wanted.attributes.get(name) != node.attributes.get(name):
                _refuse(
                    f"has {node.name} ({node.operator}), whose {name} is "
                    f"{node.attributes.get(name)}, not {wanted.attributes.get(name)}"
                )


def _compare_ends(graph: GraphContent, layers: int) -> None:
    """Compare names and types of inputs and outputs."""
    caches = [f"{part}.{layer}" for layer in range(layers) for part in ("key", "value")]
    arguments = ("inputs_embeds", "position_ids", "write_index", "kv_length", "logit_rows")
    for kind, values, known in (
        ("inputs", graph.ends.inputs, [*arguments, *(f"past_{name}" for name in caches)]),
        ("outputs", graph.ends.outputs, ["logits", *(f"present_{name}" for name in caches)]),
    ):
        if list(values) != known:
            different = min(set(values) ^ set(known), default="their order")
            _refuse(f"has other {kind}: {different}")
        for name, (element, _) in values.items():
            if element != (INT64 if name in arguments[1:] else FLOAT):
                _refuse(f"has {name} of another type")


def _compare_tensors(values: Values, layers: int, quantised: frozenset[str]) -> StepSizes:
    """Compare the shapes of the weights with each other, and the constants with those shapes."""

    def first(name: str) -> int:
        return (*values[name].shape, 0)[0] if name in values else 0

    heads, head_size = _last_two(values.get("shape.query_heads"))
    kv_heads, _ = _last_two(values.get("shape.kv_heads"))
    attended, cached = heads * head_size, kv_heads * head_size
    hidden_size = first("norm.weight")
    intermediate_size = first("layers.0.mlp.down.weight")
    vocabulary_size = first("output.weight")
    norms: dict[str, tuple[int, ...]] = {"norm.weight": (hidden_size,)}
    norms |= {f"rotary.{name}": (first("rotary.cos"), head_size // 2) for name in ("cos", "sin")}
    linears = {OUTPUT: (vocabulary_size, hidden_size)}
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
        norms |= {f"{name}.norm.weight": (hidden_size,) for name in (attention, mlp)}
        linears |= {
            f"{attention}.qkv": (hidden_size, attended + 2 * cached),
            f"{attention}.output": (attended, hidden_size),
            f"{mlp}.gate_up": (hidden_size, 2 * intermediate_size),
            f"{mlp}.down": (intermediate_size, hidden_size),
        }
        constants[f"{attention}.heads.sizes"] = [attended, cached, cached]
        constants[f"{mlp}.halves.sizes"] = [intermediate_size] * 2
    for name, shape in norms.items():
        _check_tensor(values, name, np.float32, shape)
    for name, shape in linears.items():
        if name in quantised:
            _check_int8(values, name, shape)
        else:
            _check_tensor(values, f"{name}.weight", np.float32, shape)
    for name, numbers in constants.items():
        constant = values.get(name)
        if constant is None or constant.dtype != np.int64 or constant.tolist() != numbers:
            stored = None if constant is None else constant.tolist()
            _refuse(f"has {name} = {stored}, not {numbers}")
    return StepSizes(
        layers=layers,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocabulary_size=vocabulary_size,
    )


def _check_int8(values: Values, linear: str, shape: tuple[int, int]) -> None:
    """Check the weight of a linear in int8, its scales, and that all zero points are 0."""
    weight = f"{linear}.weight"
    outputs = shape[0] if linear == OUTPUT else shape[1]
    _check_tensor(values, weight, np.int8, shape)
    for name, of in ((f"{weight}.scale", (outputs,)), (f"{linear}.input.scale", (1,))):
        scale = _check_tensor(values, name, np.float32, of)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            _refuse(f"has {name}, not all of which is above 0")
    for name, of in ((f"{weight}.zero_point", (outputs,)), (ZERO, (1,))):
        if _check_tensor(values, name, np.int8, of).any():
            _refuse(f"has {name}, not all of which is 0")


def _check_tensor(values: Values, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    value = values.get(name)
    if value is None or value.dtype != dtype or value.shape != shape:
        _refuse(f"has no {np.dtype(dtype).name} {name} of the shape {list(shape)}")
    return value


def _number(node: Node | None, attribute: str) -> float:
    """An attribute that a kernel takes as an argument; 0, which no node has, without it."""
    value = node.attributes.get(attribute) if node is not None else None
    return value if isinstance(value, float) else 0.0


def _last_two(constant: NDArray[Any] | None) -> tuple[int, int]:
    """Heads and head_size of a constant [0, 0, heads, head_size]; (0, 0) of another one."""
    if constant is None or constant.shape != (4,):
        return 0, 0
    return int(constant[2]), int(constant[3])


def _refuse(what: str) -> NoReturn:
    problem = f"the decoder {what}"
    raise UnknownDecoderError(problem)
