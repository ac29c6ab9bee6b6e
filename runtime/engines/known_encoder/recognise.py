"""The one encoder graph that the native encoder computes, compared node by node.

Only numbers that the kernel takes as arguments may differ: the sizes, the epsilon, the attention
scale, the activation, how many rows leave the last layer, and which linears are in int8.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2t.kernels.encoder.weights import BiasedLinear, EncoderLayer, HostEncoder
from c2t.runtime.bundle.graph_content import read_content
from c2t.runtime.engines.known_encoder.expected_nodes import (
    ACTIVATIONS,
    ExpectedEncoder,
    linear_names,
)
from c2t.runtime.engines.known_encoder.weights import biased_linear, layer_norm
from c2t.runtime.engines.known_graph.compare import KnownGraph, Values, number_of
from c2t.runtime.system.errors import BundleError


class UnknownEncoderError(BundleError):
    """An encoder that the native encoder would compute wrongly; ONNX Runtime runs all of it."""


def recognise_encoder(path: Path) -> HostEncoder:
    """Recognise an encoder graph as a whole; its weights are mapped from the data file.

    Args:
        path: The `encoder.onnx` of a bundle, its data file beside it.

    Raises:
        UnknownEncoderError: A node, an attribute, an input, a constant or a shape is not that of
            the known encoder; the first difference is named.
        BundleError: The graph cannot be read.
    """
    graph = read_content(path)
    _KNOWN.check_opset(graph)
    nodes = {node.name: node for node in graph.nodes}
    layers = sum(node.operator == "Attention" for node in graph.nodes)
    if layers == 0:
        _KNOWN.refuse("has no layer")
    last = f"layers.{layers - 1}"
    own_query = f"{last}.rows" in nodes
    linears = linear_names(layers, own_query=own_query)
    quantised = frozenset(name for name in linears if f"{name}.input.quantize" in nodes)
    attention, activation = nodes.get("layers.0.attention"), nodes.get("layers.0.mlp.activation")
    heads = attention.attributes.get("q_num_heads") if attention is not None else None
    if activation is None or activation.operator not in ACTIVATIONS:
        _KNOWN.refuse("has no activation that the native encoder knows")
    if not isinstance(heads, int) or heads < 1:
        _KNOWN.refuse("has no number of heads")
    expected = ExpectedEncoder(
        epsilon=number_of(nodes.get("layers.0.attention.norm"), "epsilon"),
        scale=number_of(attention, "scale"),
        heads=heads,
        activation=activation.operator,
        quantised=quantised,
    )
    _KNOWN.compare_nodes(graph.nodes, [*expected.nodes(layers, own_query=own_query)])
    _KNOWN.compare_ends(graph, "embeddings", "hidden")
    rows = _compare_tensors(graph.values, layers, quantised, own_query=own_query)
    return HostEncoder(
        layers=[
            _layer(graph.values, quantised, index, own_query=own_query and index == layers - 1)
            for index in range(layers)
        ],
        heads=heads,
        epsilon=number_of(nodes["layers.0.attention.norm"], "epsilon"),
        scale=number_of(attention, "scale"),
        activation=ACTIVATIONS[activation.operator],
        rows=rows,
    )


def _compare_tensors(
    values: Values, layers: int, quantised: frozenset[str], *, own_query: bool
) -> int | None:
    """Compare all shapes and constants; returns the rows that leave the last layer."""

    def length(name: str) -> int:
        return (*values[name].shape, 0)[0] if name in values else 0

    hidden = length("layers.0.attention.norm.weight")
    wide = length("layers.0.mlp.up.bias")
    rows = None
    constants = dict[str, list[int]]()
    for index in range(layers):
        attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"
        last = own_query and index == layers - 1
        linears = {
            f"{attention}.output": (hidden, hidden),
            f"{mlp}.up": (hidden, wide),
            f"{mlp}.down": (wide, hidden),
        }
        if last:
            linears |= {f"{attention}.kv": (hidden, 2 * hidden), f"{attention}.q": (hidden, hidden)}
            stop = values.get(f"layers.{index}.rows.stop")
            rows = int(stop[0]) if stop is not None and stop.shape == (1,) else 0
            if rows < 1:
                _KNOWN.refuse(f"has layers.{index}.rows.stop = {rows}")
            for bound, number in (("start", 0), ("stop", rows), ("axis", 1)):
                constants[f"layers.{index}.rows.{bound}"] = [number]
        else:
            linears[f"{attention}.qkv"] = (hidden, 3 * hidden)
        constants[f"{attention}.heads.sizes"] = [hidden] * (2 if last else 3)
        for name, shape in linears.items():
            quantised_here = name in quantised
            _KNOWN.check_linear(values, name, shape, shape[1], quantised=quantised_here)
            _KNOWN.check_tensor(values, f"{name}.bias", np.float32, (shape[1],))
        for norm in (attention, mlp):
            for part in ("weight", "bias"):
                _KNOWN.check_tensor(values, f"{norm}.norm.{part}", np.float32, (hidden,))
    _KNOWN.check_constants(values, constants)
    return rows


def _layer(
    values: Values, quantised: frozenset[str], index: int, *, own_query: bool
) -> EncoderLayer:
    attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"

    def linear(name: str) -> BiasedLinear:
        return biased_linear(values, name, quantised=name in quantised)

    return EncoderLayer(
        qkv=linear(f"{attention}.kv" if own_query else f"{attention}.qkv"),
        query=linear(f"{attention}.q") if own_query else None,
        output=linear(f"{attention}.output"),
        attention_norm=layer_norm(values, f"{attention}.norm"),
        up=linear(f"{mlp}.up"),
        down=linear(f"{mlp}.down"),
        mlp_norm=layer_norm(values, f"{mlp}.norm"),
    )


_KNOWN = KnownGraph("encoder", "the native encoder", UnknownEncoderError)
