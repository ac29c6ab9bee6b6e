"""Leaving nodes out of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx


def keep_nodes(
    graph: onnx.GraphProto, kept: Sequence[onnx.NodeProto], renamed: Mapping[str, str]
) -> None:
    """Leave out all other nodes, and the weights that nobody reads any more.

    Args:
        graph: Changed in place.
        kept: Nodes of it, in order.
        renamed: What they read in place of a value that is no longer computed.
    """
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    read = {name for node in kept for name in node.input}
    weights = [weight for weight in graph.initializer if weight.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
