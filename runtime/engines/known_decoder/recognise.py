"""The one decoder graph that the step kernels compute, compared node by node.

Only numbers that a kernel takes as arguments may differ: the sizes, the epsilon, the attention
scale, and which linears are in int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer
from c2t.kernels.linears.matrix import Int8Matrix
from c2t.runtime.bundle.graph_content import GraphContent, read_content
from c2t.runtime.engines.known_decoder.expected_nodes import (
    OUTPUT,
    expected_nodes,
    linear_names,
)
from c2t.runtime.engines.known_graph.compare import (
    FLOAT,
    INT64,
    KnownGraph,
    Values,
    number_of,
)
from c2t.runtime.system.errors import BundleError


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
    _KNOWN.check_opset(graph)
    nodes = {node.name: node for node in graph.nodes}
    layers = sum(node.operator == "Attention" for node in graph.nodes)
    epsilon = number_of(nodes.get("norm"), "epsilon")
    scale = number_of(nodes.get("layers.0.attention"), "scale")
    linears = linear_names(layers)
    quantised = frozenset(name for name in linears if f"{name}.input.quantize" in nodes)
    _KNOWN.compare_nodes(graph.nodes, [*expected_nodes(layers, epsilon, scale, quantised)])
    _compare_ends(graph, layers)
    sizes = _compare_tensors(graph.values, layers, quantised)
    return KnownDecoder(
        sizes=sizes,
        epsilon=epsilon,
        attention_scale=scale,
        quantised=quantised,
        values=graph.values,
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
            _KNOWN.refuse(f"has other {kind}: {different}")
        for name, (element, _) in values.items():
            if element != (INT64 if name in arguments[1:] else FLOAT):
                _KNOWN.refuse(f"has {name} of another type")


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
        _KNOWN.check_tensor(values, name, np.float32, shape)
    for name, shape in linears.items():
        outputs = shape[0] if name == OUTPUT else shape[1]
        _KNOWN.check_linear(values, name, shape, outputs, quantised=name in quantised)
    _KNOWN.check_constants(values, constants)
    return StepSizes(
        layers=layers,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocabulary_size=vocabulary_size,
    )


def _last_two(constant: NDArray[Any] | None) -> tuple[int, int]:
    """Heads and head_size of a constant [0, 0, heads, head_size]; (0, 0) of another one."""
    if constant is None or constant.shape != (4,):
        return 0, 0
    return int(constant[2]), int(constant[3])


_KNOWN = KnownGraph("decoder", "the step kernel", UnknownDecoderError)
