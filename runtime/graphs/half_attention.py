"""The float32 variant of a graph for TensorRT: only attention and its caches in half precision.

TensorRT has no fused attention in float32, and its KV cache works with fused attention only. All
else stays as the bundle has it. Weights are not copied: the variant reads the bundle's data file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from c2t.runtime.graphs.half_precision import CACHES, cast_node, fix_cache_capacity

ELEMENT = TensorProto.FLOAT16
# Operator -> which of its inputs are cast to half precision.
VALUES = {"TensorScatter": (1,), "Attention": (0, 1, 2)}


def write_half_attention(
    source: Path, target: Path, *, cache_capacity: int | None = None, model: onnx.ModelProto
) -> None:
    """Write the variant, and link or copy the data file beside it.

    Args:
        source: A graph of a bundle, its data file beside it.
        target: The new graph file, in a folder of its own.
        cache_capacity: Cache positions of a batch row; None leaves the number dynamic.
        model: The graph, perhaps changed since it was read from `source`; overwritten.
    """
    if cache_capacity is not None:
        fix_cache_capacity(model, cache_capacity)
    graph = model.graph
    nodes = list(_nodes(graph))
    for value in (*graph.input, *graph.output):
        if value.name.split(".")[0] in CACHES:
            value.type.tensor_type.elem_type = ELEMENT
    del graph.node[:]
    graph.node.extend(nodes)
    target.write_bytes(model.SerializeToString(deterministic=True))
    data = f"{source.name}.data"
    try:
        os.link(source.with_name(data), target.with_name(data))
    except OSError:  # another file system, or one without links
        shutil.copyfile(source.with_name(data), target.with_name(data))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes, with casts around attention; a value that several read is cast once."""
    half = {v.name for v in graph.input if v.name.split(".")[0] in CACHES}
    cast: set[str] = set()
    for node in graph.node:
        for place in VALUES.get(node.op_type, ()):
            name = node.input[place]
            if name in half:
                continue
            if name not in cast:
                cast.add(name)
                yield cast_node(name, f"{name}.half", ELEMENT)
            node.input[place] = f"{name}.half"
        if node.op_type == "TensorScatter":
            half.add(node.output[0])
        if node.op_type != "Attention":
            yield node
            continue
        result = node.output[0]
        node.output[0] = f"{node.name}.context.half"
        yield node
        yield cast_node(node.output[0], result, TensorProto.FLOAT, name=f"{result}.to_float32")
