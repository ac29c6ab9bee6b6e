"""Changes of a graph, for tests that such a graph is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

if TYPE_CHECKING:
    import onnx


def node(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.name == name)


def insert_after(graph: onnx.GraphProto, name: str, op: str, *more: str, **attributes: Any) -> None:
    """Put a node between a node and those that read it."""
    before = node(graph, name)
    (value,) = before.output
    before.output[0] = f"{value}.before"
    added = onnx.helper.make_node(
        op, [f"{value}.before", *more], [value], f"{name}.added", **attributes
    )
    graph.node.insert(list(graph.node).index(before) + 1, added)


def attribute(graph: onnx.GraphProto, name: str, **values: Any) -> None:
    """Set attributes of a node."""
    found = node(graph, name)
    kept = [a for a in found.attribute if a.name not in values]
    del found.attribute[:]
    found.attribute.extend(kept)
    found.attribute.extend(onnx.helper.make_attribute(n, v) for n, v in values.items())


def constant(graph: onnx.GraphProto, name: str, values: list[int]) -> None:
    """Replace a constant."""
    tensor = next(t for t in graph.initializer if t.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(values, np.int64), name))


def changed(name: str, **values: Any) -> Callable[[onnx.GraphProto], None]:
    return lambda graph: attribute(graph, name, **values)
