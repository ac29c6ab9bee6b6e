"""The half-precision variant of a bundle's graph, the one that TensorRT builds.

One decision: it is a pass over the bundle's graph file, tensor by tensor, so that the variants of
all backends come from the one authored graph. Weights, attention and the stream between layers
become float16 or bfloat16. Normalisations stay float32 between two casts. Int8 weights stay as they
are, and their scales float32, unless they are widened. `logits` leave the graph as float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from c2t.runtime.graphs.data_file import BLOCK_BYTES, DataFile, read_graph, stored_values
from c2t.runtime.graphs.widened_weights import take_weight_scales
from c2t.runtime.system.errors import BundleError

DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
# Residual streams reach values whose sums of squares overflow float16.
FLOAT32_OPERATORS = ("LayerNormalization", "RMSNormalization")
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
# The runtime picks tokens from float32 logits, whatever the graph computes in.
FLOAT32_OUTPUTS = ("logits",)
CACHES = ("past_key", "past_value", "present_key", "present_value")


def fix_cache_capacity(model: onnx.ModelProto, capacity: int) -> None:
    """Give the decoder's caches a fixed capacity, which TensorRT demands.

    Args:
        model: A decoder graph, changed in place; other graphs have no caches and stay as they are.
        capacity: Cache positions of a batch row: prompt and new tokens together.
    """
    for value in (*model.graph.input, *model.graph.output):
        if value.name.split(".")[0] in CACHES:
            value.type.tensor_type.shape.dim[2].dim_value = capacity


def write_half_precision(
    source: Path,
    target: Path,
    *,
    dtype: str = "float16",
    cache_capacity: int | None = None,
    model: onnx.ModelProto | None = None,
    widen: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the half-precision variant of a graph and its data file.

    Args:
        source: A graph of a bundle, float32 or with Q/DQ; its data file lies beside it.
        target: The new graph file, `<target>.data` beside it.
        dtype: "float16" or "bfloat16".
        cache_capacity: Cache positions of a batch row; None leaves the number dynamic.
        model: The graph, if it was changed since it was read from `source`; overwritten.
        widen: Whether int8 weights become half precision too, and activations stay unquantised; see
            `c2t.runtime.graphs.widened_weights`.
        advance: Called with the bytes of each tensor of `source` that is converted.

    Raises:
        BundleError: A weight is too large for float16.
    """
    half = DTYPES[dtype]
    element = helper.np_dtype_to_tensor_dtype(half)
    if model is None:
        model = read_graph(source)
    if cache_capacity is not None:
        fix_cache_capacity(model, cache_capacity)
    scales = take_weight_scales(model, source) if widen else {}
    graph = model.graph
    kept = {
        name
        for node in graph.node
        if node.op_type in (*FLOAT32_OPERATORS, *QUANTISERS)
        for name in node.input[1:]
    }
    with DataFile(target) as data:
        initializers = []
        for tensor in graph.initializer:
            values = stored_values(tensor, source)
            if tensor.name in scales:
                blocks = _halved(tensor.name, scales[tensor.name].blocks(values), half)
                initializers.append(data.blocks(tensor.name, half, tuple(tensor.dims), blocks))
            else:
                initializers.append(_convert(tensor, values, data, half, kept))
            advance(values.nbytes)
        nodes = list(_half_nodes(graph, element))
        for value in (*graph.input, *graph.output):
            kind = value.type.tensor_type
            if kind.elem_type == TensorProto.FLOAT and value.name not in FLOAT32_OUTPUTS:
                kind.elem_type = element
        del graph.initializer[:], graph.node[:]
        graph.initializer.extend(initializers)
        graph.node.extend(nodes)
        target.write_bytes(model.SerializeToString(deterministic=True))


def _convert(
    tensor: TensorProto,
    values: NDArray[Any],
    data: DataFile,
    half: np.dtype[Any],
    kept: set[str],
) -> TensorProto:
    """Store an initializer block by block, float32 ones as `half` unless they are kept."""
    if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
        blocks = _halved(tensor.name, _blocks(values), half)
        return data.blocks(tensor.name, half, tuple(tensor.dims), blocks)
    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    return data.tensor(tensor.name, values)


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = values.reshape(-1)
    step = BLOCK_BYTES // 4
    for start in range(0, len(flat), step):
        yield np.asarray(flat[start : start + step])


def _halved(
    name: str, blocks: Iterable[NDArray[Any]], half: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    for block in blocks:
        with np.errstate(over="ignore"):
            converted = block.astype(half)
        if not np.isfinite(converted).all():
            problem = (
                f"weight {name} reaches {float(np.abs(block).max()):.3g}, too large for {half}"
            )
            raise BundleError(problem, hint="use bfloat16, which has the range of float32")
        yield converted


def _half_nodes(graph: onnx.GraphProto, element: int) -> Iterator[onnx.NodeProto]:
    """The graph's nodes, with a cast on either side of each one that stays float32."""
    for node in graph.node:
        if node.op_type in FLOAT32_OPERATORS:
            before, after = f"{node.name}.from_half", f"{node.name}.float32"
            yield cast_node(node.input[0], before, TensorProto.FLOAT)
            result = node.output[0]
            node.input[0], node.output[0] = before, after
            yield node
            yield cast_node(after, result, element, name=f"{node.name}.to_half")
        elif node.op_type == "DequantizeLinear":
            # From float32 scales straight to half: a small scale would lose digits in half.
            node.attribute.append(helper.make_attribute("output_dtype", element))
            yield node
        elif node.output[0] in FLOAT32_OUTPUTS:
            result = node.output[0]
            node.output[0] = f"{node.name}.half"
            yield node
            yield cast_node(node.output[0], result, TensorProto.FLOAT, name=f"{result}.to_float32")
        else:
            yield node


def cast_node(value: str, result: str, element: int, *, name: str = "") -> onnx.NodeProto:
    """A cast of a value to an ONNX type; the node has the name of its result, or `name`."""
    return helper.make_node("Cast", [value], [result], name=name or result, to=element)
