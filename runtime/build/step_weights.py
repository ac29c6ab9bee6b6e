"""Writing the description of a decoder's weights that kernels of our own read.

One decision: everything is looked up under the names that `c2t.export.decoders.llama` gives. What
is missing, a bias, or an epsilon or a scale that is not the same everywhere is refused: kernels
would leave it out without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from safetensors.numpy import save

from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.engines.built.step_weights import (
    DESCRIPTION_NAME,
    FINAL_NORM,
    ROTARY,
    SMALL_NAME,
    DecoderWeights,
    LayerWeights,
    norm_names,
)
from c2t.runtime.graphs.data_file import stored_values
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import BundleError

NORM, ATTENTION = "RMSNormalization", "Attention"


def write_decoder_weights(source: Path, half: Path) -> None:
    """Write `decoder_weights.json` and `decoder_weights.safetensors` beside a half-precision form.

    Args:
        source: The float32 `decoder.onnx` of a bundle, its data file beside it: norms and rotary
            tables are taken from it.
        half: Its half-precision form: the matrices lie in its data file.

    Raises:
        BundleError: The graph is not one that `c2t export` writes, or its products have biases.
    """
    graph = _DecoderGraph(source)
    stored = onnx.load(half, load_external_data=False).graph.initializer
    places = {tensor.name: tensor for tensor in stored}

    def place(product: str, operator: str = "MatMul") -> TensorReference:
        return _reference(places[graph.matrix(product, operator)])

    layers = len(graph.nodes_of(ATTENTION))
    description = DecoderWeights(
        epsilon=graph.shared_attribute(NORM, "epsilon"),
        attention_scale=graph.shared_attribute(ATTENTION, "scale"),
        layers=tuple(
            LayerWeights(
                qkv=place(f"layers.{index}.attention.qkv"),
                output=place(f"layers.{index}.attention.output"),
                gate_up=place(f"layers.{index}.mlp.gate_up"),
                down=place(f"layers.{index}.mlp.down"),
            )
            for index in range(layers)
        ),
        logits=place("output", "Gemm"),
    )
    norms = [name for layer in range(layers) for name in norm_names(layer)]
    small = {name: graph.values(name) for name in (*ROTARY, *norms, FINAL_NORM)}
    half.with_name(DESCRIPTION_NAME).write_bytes(json_bytes(description))
    # Not `save_file`: it makes files that only their owner can read.
    half.with_name(SMALL_NAME).write_bytes(save(small))


class _DecoderGraph:
    """The bundle's float32 graph, looked into by the names that the export gave."""

    def __init__(self, path: Path) -> None:
        self._path = path
        graph = onnx.load(path, load_external_data=False).graph
        self._nodes = {node.name: node for node in graph.node}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}

    def nodes_of(self, operator: str) -> list[onnx.NodeProto]:
        """All nodes of an operator."""
        return [node for node in self._nodes.values() if node.op_type == operator]

    def matrix(self, product: str, operator: str) -> str:
        """Name of the initializer that a product multiplies with."""
        node = self._nodes.get(product)
        if node is None or node.op_type != operator or node.input[1] not in self._tensors:
            self._refuse(f"it has no {operator} {product} with a weight")
        if len(node.input) > 2 or f"{product}.add" in self._nodes:
            self._refuse(f"the product {product} has a bias")
        return str(node.input[1])

    def shared_attribute(self, operator: str, name: str) -> float:
        """An attribute that all nodes of an operator have with the same value."""
        found = {
            float(onnx.helper.get_attribute_value(attribute))
            for node in self.nodes_of(operator)
            for attribute in node.attribute
            if attribute.name == name
        }
        if len(found) != 1:
            self._refuse(f"{name} of {operator} is {sorted(found)}")
        return found.pop()

    def values(self, name: str) -> NDArray[Any]:
        """Values of a float32 initializer."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            self._refuse(f"it has no float32 {name}")
        return np.ascontiguousarray(stored_values(tensor, self._path))

    def _refuse(self, why: str) -> NoReturn:
        problem = f"{self._path.name} is no decoder that the kernel of short steps can run: {why}"
        raise BundleError(problem)


def _reference(tensor: TensorProto) -> TensorReference:
    """Where a weight of the half-precision form lies; all of them lie in its data file."""
    place = {entry.key: entry.value for entry in tensor.external_data}
    return TensorReference(
        file=place["location"],
        offset=int(place["offset"]),
        shape=tuple(tensor.dims),
        dtype=onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name,
    )
