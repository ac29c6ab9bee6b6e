"""The half-precision form of an exported graph, the one that TensorRT builds.

One decision: it is a pass over the float32 graph file, tensor by tensor, so every backend's form
comes from the one authored graph. Weights, attention and the stream between layers become float16
or bfloat16; normalisations stay float32 between two casts; `logits` leave as float32.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from c2t.export import graph_data
from c2t.export.graph_data import GraphData
from c2t.runtime.errors import CheckpointError

DTYPES = {
    "float16": (TensorProto.FLOAT16, torch.float16),
    "bfloat16": (TensorProto.BFLOAT16, torch.bfloat16),
}
# Sums of squares overflow float16 for values that residual streams do reach.
FLOAT32_OPERATORS = ("LayerNormalization", "RMSNormalization")
# The runtime picks tokens from float32 logits, whatever the graph computes in.
FLOAT32_OUTPUTS = ("logits",)


def fix_cache_capacity(model: onnx.ModelProto, capacity: int) -> None:
    """Give the decoder's caches a fixed number of slots, which TensorRT demands.

    Args:
        model: A decoder graph, changed in place; other graphs have no caches and stay as they are.
        capacity: Slots, prompt and new tokens together.
    """
    for value in (*model.graph.input, *model.graph.output):
        if value.name.split(".")[0] in ("past_key", "past_value", "present_key", "present_value"):
            value.type.tensor_type.shape.dim[2].dim_value = capacity


def write_half_precision(
    source: Path, target: Path, *, dtype: str = "float16", cache_capacity: int | None = None
) -> None:
    """Write the half-precision form of a graph and its data file.

    Args:
        source: A float32 graph that this package exported, its data file beside it.
        target: The new graph file, `<target>.data` beside it.
        dtype: "float16" or "bfloat16".
        cache_capacity: Slots of the decoder's caches; None leaves them dynamic.

    Raises:
        CheckpointError: A weight is too large for float16.
    """
    element, torch_dtype = DTYPES[dtype]
    model = onnx.load(source, load_external_data=False)
    if cache_capacity is not None:
        fix_cache_capacity(model, cache_capacity)
    kept = {
        name
        for node in model.graph.node
        if node.op_type in FLOAT32_OPERATORS
        for name in node.input[1:]
    }
    with GraphData(target) as data:
        initializers = [
            tensor
            if tensor.data_type != TensorProto.FLOAT
            else _convert(
                tensor,
                source,
                data,
                element=TensorProto.FLOAT if tensor.name in kept else element,
                dtype=torch.float32 if tensor.name in kept else torch_dtype,
            )
            for tensor in model.graph.initializer
        ]
        nodes = list(_half_nodes(model.graph, element))
        for value in (*model.graph.input, *model.graph.output):
            kind = value.type.tensor_type
            if kind.elem_type == TensorProto.FLOAT and value.name not in FLOAT32_OUTPUTS:
                kind.elem_type = element
        del model.graph.initializer[:], model.graph.node[:]
        model.graph.initializer.extend(initializers)
        model.graph.node.extend(nodes)
        target.write_bytes(model.SerializeToString(deterministic=True))
        data.keep()


def _convert(
    tensor: TensorProto, source: Path, data: GraphData, *, element: int, dtype: torch.dtype
) -> TensorProto:
    """Store a float32 initializer as `dtype`, block by block."""
    shape = tuple(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        place = {entry.key: entry.value for entry in tensor.external_data}
        file = source.with_name(place["location"])
        values = np.memmap(file, "<f4", "r", int(place["offset"]), shape)
    else:
        values = onnx.numpy_helper.to_array(tensor)
    return data.tensor(tensor.name, element, shape, _blocks(tensor.name, values, dtype))


def _blocks(name: str, values: np.ndarray, dtype: torch.dtype) -> Iterator[np.ndarray]:
    flat = values.reshape(-1)
    step = graph_data.BLOCK_BYTES // 4
    for start in range(0, len(flat), step):
        block = torch.from_numpy(flat[start : start + step].copy())
        converted = block.to(dtype)
        if not bool(torch.isfinite(converted).all()):
            problem = f"weight {name} reaches {float(block.abs().max()):.3g}, too large for {dtype}"
            raise CheckpointError(problem, hint="use bfloat16, which has the range of float32")
        # NumPy has no bfloat16: the bits are written as they are.
        yield converted.view(torch.uint8).numpy()


def _half_nodes(graph: onnx.GraphProto, element: int) -> Iterator[onnx.NodeProto]:
    """Give the graph's nodes with a cast on either side of what stays float32."""
    for node in graph.node:
        if node.op_type in FLOAT32_OPERATORS:
            before, after = f"{node.name}.from_half", f"{node.name}.float32"
            yield _cast(node.input[0], before, TensorProto.FLOAT)
            result = node.output[0]
            node.input[0], node.output[0] = before, after
            yield node
            yield _cast(after, result, element, name=f"{node.name}.to_half")
        elif node.output[0] in FLOAT32_OUTPUTS:
            result = node.output[0]
            node.output[0] = f"{node.name}.half"
            yield node
            yield _cast(node.output[0], result, TensorProto.FLOAT, name=f"{result}.to_float32")
        else:
            yield node


def _cast(value: str, result: str, element: int, *, name: str = "") -> onnx.NodeProto:
    return helper.make_node("Cast", [value], [result], name=name or result, to=element)
