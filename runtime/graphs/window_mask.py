"""Removes the mask of a sliding window that is as wide as the cache: it hides nothing."""

from __future__ import annotations

import onnx

MASK = 3  # which input of Attention


def drop_wide_masks(model: onnx.ModelProto, capacity: int) -> int:
    """Remove masks that hide none of `capacity` cache positions, and the nodes that made them.

    Args:
        model: A decoder graph, changed in place; other graphs have no masks and stay as they are.
        capacity: Cache positions of a batch row.

    Returns:
        The number of Attention nodes that lost their mask.
    """
    graph = model.graph
    sizes = {
        tensor.name.removesuffix(".size"): tensor
        for tensor in graph.initializer
        if tensor.name.startswith("window.") and tensor.name.endswith(".size")
    }
    dropped = 0
    for node in graph.node:
        if node.op_type != "Attention" or len(node.input) <= MASK or not node.input[MASK]:
            continue
        tensor = sizes.get(node.input[MASK])
        if tensor is not None and int(onnx.numpy_helper.to_array(tensor)) >= capacity:
            node.input[MASK] = ""
            dropped += 1
    if dropped:
        _prune(graph)
    return dropped


def _prune(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that nothing reads."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & {*node.output}:
            needed |= {*node.input}
            kept.append(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    kept.reverse()
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)
