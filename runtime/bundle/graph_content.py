"""What a graph holds: its nodes with their attributes, and its weights; read without onnx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.graph_check import (
    ATTRIBUTE_NAME,
    ENTRY_KEY,
    ENTRY_VALUE,
    GRAPH_BYTES_MAX,
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    HINT,
    MODEL_FUNCTIONS,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_DOMAIN,
    NODE_NAMES,
    NODE_OPERATOR,
    TENSOR_DIMS,
    TENSOR_EXTERNAL,
    TENSOR_NAME,
    TENSOR_RAW,
    TENSOR_TYPE,
    GraphEnds,
    read_end,
)
from c2t.runtime.bundle.protobuf import (
    Content,
    content_of,
    fields,
    number_of,
    numbers_of,
    text_of,
)
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError
from c2t.runtime.system.tensor_files import region_problem

# Field numbers of onnx.proto.
MODEL_OPSET, OPSET_DOMAIN, OPSET_VERSION = 8, 1, 2
ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_TEXT = 2, 3, 4
ATTRIBUTE_FLOATS, ATTRIBUTE_INTS, ATTRIBUTE_TYPE = 7, 8, 20
ATTRIBUTE_NOTE = 13  # documentation
# NumPy's dtypes of tensors by the number of their type; others are not read.
DTYPES: dict[int, np.dtype[Any]] = {
    number: np.dtype(name)
    for number, name in (
        *((1, "<f4"), (2, "u1"), (3, "i1"), (6, "<i4")),
        *((7, "<i8"), (10, "<f2"), (11, "<f8")),
    )
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a graph.

    Args:
        operator: Its type.
        name: Its own.
        inputs: Names; "" where an optional one is left out.
        outputs: Names.
        domain: Of the operator; "" for ONNX's own.
        attributes: Numbers and lists of numbers by name; texts as bytes. None: of another kind.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    domain: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GraphContent:
    """A graph as it is stored.

    Args:
        opsets: Versions by domain; "" for ONNX's own.
        functions: How many it defines.
        nodes: In order.
        values: Weights by name, mapped from the data file where they lie there; read-only.
        ends: Inputs and outputs.
    """

    opsets: dict[str, int]
    functions: int
    nodes: Sequence[Node]
    values: dict[str, NDArray[Any]]
    ends: GraphEnds


def read_content(path: Path, *, data: bool = True, shapes: bool = False) -> GraphContent:
    """Read a graph.

    Args:
        path: The graph file.
        data: Map the weights of the data file beside it; else they are left out.
        shapes: Without `data`: they have stand-ins of their shape and dtype, floats of 1 and
            integers of 0.

    Raises:
        BundleError: It is no ONNX graph, there is no data file, or a weight does not lie inside it.
    """
    content = read_bounded(path, bytes_max=GRAPH_BYTES_MAX, error=BundleError, hint=HINT)
    try:
        return _content(memoryview(content), path, data=data, shapes=shapes)
    except (IndexError, ValueError, OSError) as error:  # OSError: there is no data file
        problem = f"{path.name} cannot be read as an ONNX graph: {error}"
        raise BundleError(problem, hint=HINT) from error


def _content(model: memoryview, path: Path, *, data: bool, shapes: bool) -> GraphContent:
    opsets: dict[str, int] = {}
    functions, nodes, ends = 0, list[Node](), GraphEnds()
    values: dict[str, NDArray[Any]] = {}
    for part, value in fields(model):
        if part == MODEL_OPSET:
            opset = dict(fields(content_of(value)))
            domain = text_of(opset.get(OPSET_DOMAIN, memoryview(b"")))
            opsets["" if domain == "ai.onnx" else domain] = number_of(opset.get(OPSET_VERSION, 0))
        elif part == MODEL_FUNCTIONS:
            functions += 1
        elif part == MODEL_GRAPH:
            for number, inner in fields(content_of(value)):
                if number == GRAPH_NODE:
                    nodes.append(_node(content_of(inner)))
                elif number == GRAPH_INITIALIZER:
                    name, array = _tensor(content_of(inner), path, data=data, shapes=shapes)
                    if array is not None:
                        values[name] = array
                elif number in (GRAPH_INPUT, GRAPH_OUTPUT):
                    read_end(inner, ends.inputs if number == GRAPH_INPUT else ends.outputs)
    return GraphContent(opsets=opsets, functions=functions, nodes=nodes, values=values, ends=ends)


def _node(node: memoryview) -> Node:
    operator = domain = ""
    names: dict[int, list[str]] = {number: [] for number in NODE_NAMES}
    attributes: dict[str, Any] = {}
    for number, value in fields(node):
        if number == NODE_OPERATOR:
            operator = text_of(value)
        elif number == NODE_DOMAIN:
            domain = text_of(value)
        elif number in NODE_NAMES:
            names[number].append(text_of(value))
        elif number == NODE_ATTRIBUTE:
            name, meaning = _attribute(content_of(value))
            attributes[name] = meaning
    inputs, outputs, own = (names[number] for number in NODE_NAMES)
    return Node(
        operator=operator,
        name="".join(own),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        domain="" if domain == "ai.onnx" else domain,
        attributes=attributes,
    )


def _attribute(attribute: memoryview) -> tuple[str, Any]:
    """Name and value; the value of a kind that is not read is None."""
    name, meaning = "", None  # type: str, Any
    several: list[Any] = []
    for number, value in fields(attribute):
        if number == ATTRIBUTE_NAME:
            name = text_of(value)
        elif number == ATTRIBUTE_FLOAT:
            meaning = value
        elif number == ATTRIBUTE_INT:
            meaning = number_of(value)
        elif number == ATTRIBUTE_TEXT:
            meaning = bytes(content_of(value))
        elif number == ATTRIBUTE_INTS:
            several += numbers_of(value)
        elif number == ATTRIBUTE_FLOATS:
            several.append(value)
        elif number not in (ATTRIBUTE_TYPE, ATTRIBUTE_NOTE):
            return name, None
    return name, several or meaning


def _tensor(
    tensor: memoryview, path: Path, *, data: bool, shapes: bool
) -> tuple[str, NDArray[Any] | None]:
    """Name and values of a weight; None: they lie in the data file, which is not read."""
    name, dims, kind = "", list[int](), 0
    raw: Content = memoryview(b"")
    place: dict[str, str] = {}
    for number, value in fields(tensor):
        if number == TENSOR_NAME:
            name = text_of(value)
        elif number == TENSOR_DIMS:
            dims += numbers_of(value)
        elif number == TENSOR_TYPE:
            kind = number_of(value)
        elif number == TENSOR_RAW:
            raw = value
        elif number == TENSOR_EXTERNAL:
            entry = {part: text_of(text) for part, text in fields(content_of(value))}
            place[entry.get(ENTRY_KEY, "")] = entry.get(ENTRY_VALUE, "")
    if kind not in DTYPES:
        _refuse(path, name, f"is of the type {kind}")
    if not place:
        return name, np.frombuffer(content_of(raw), DTYPES[kind]).reshape(dims)
    if not data:
        if not shapes:
            return name, None
        stand_in = np.array(1 if DTYPES[kind].kind == "f" else 0, DTYPES[kind])
        return name, np.broadcast_to(stand_in, dims)
    if place.get("location") != f"{path.name}.data":
        _refuse(path, name, f"is said to lie in {place.get('location')!r}")
    file, offset = path.with_name(f"{path.name}.data"), int(place.get("offset", "0"))
    if problem := region_problem(file, offset, dims, DTYPES[kind]):
        _refuse(path, name, f"in the data file {problem}")
    return name, np.memmap(file, DTYPES[kind], mode="r", offset=offset, shape=tuple(dims))


def _refuse(path: Path, tensor: str, what: str) -> NoReturn:
    problem = f"{path.name}: the tensor {tensor} {what}"
    raise BundleError(problem, hint=HINT)
