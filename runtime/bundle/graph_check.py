"""What a graph of a bundle may hold, looked at before a library opens it.

A graph may come from a stranger, and ONNX can express loops without end and weights in any file. So
only the operators that c2t writes are accepted, no functions and no graphs within graphs, and
weights lie in the graph's own data file. The file is read as protobuf, by the field numbers of
onnx.proto: the runtime does not load onnx.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from c2t.runtime.bundle.protobuf import (
    Content,
    content_of,
    fields,
    messages,
    number_of,
    numbers_of,
    text_of,
)
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError, C2TError

# What export and calibration write, by domain. A new family's operators are added here.
OPERATORS = {
    "": frozenset(
        (
            *("Add", "Attention", "Cast", "Concat", "DequantizeLinear", "Expand", "GatherND"),
            *("Gelu", "Gemm", "Greater", "Identity", "LayerNormalization", "MatMul", "Mul"),
            *("QuantizeLinear", "RMSNormalization", "Range", "ReduceMean", "Relu", "Reshape"),
            *("RotaryEmbedding", "Shape", "Sigmoid", "Slice", "Split", "Sub", "Tanh"),
            *("TensorScatter", "Transpose", "Unsqueeze"),
        )
    ),
    "com.microsoft": frozenset(("MatMulNBits",)),
}
# A graph's weights lie in its data file. A graph of 100 layers has some hundred kilobytes without.
GRAPH_BYTES_MAX = 16 << 20
HINT = "export the bundle again with this version of c2t"

# Field numbers of onnx.proto.
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE = 11, 12, 13
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
NODE_NAMES = (1, 2, 3)  # of its inputs, its outputs, its own
ATTRIBUTE_NAME = 1
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT, TENSOR_SHAPE = 1, 2, 1, 1, 2
SHAPE_DIMENSION, DIMENSION_NUMBER = 1, 1
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2

# Bytes of an element by the number of its type: those of weights that c2t writes (float32, uint8,
# int8, int32, int64, bool, float16, float64, bfloat16). Texts, among others, are none of them.
ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}
EXTERNAL_KEYS = {"location", "offset", "length"}
DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class DataPlace:
    """The data file of a graph."""

    name: str
    bytes: int


@dataclass(frozen=True)
class GraphEnds:
    """Inputs and outputs of a graph by name: the number of the type, and the shape.

    A dimension without a number of its own, such as the number of batch rows, is None.
    """

    inputs: dict[str, tuple[int, list[int | None]]] = field(default_factory=dict)
    outputs: dict[str, tuple[int, list[int | None]]] = field(default_factory=dict)


def check_graph(path: Path, *, error: type[C2TError] = BundleError, hint: str = HINT) -> GraphEnds:
    """Refuse a graph with operators, or with places of weights, that c2t does not write.

    Args:
        path: The graph file, its data file beside it.
        error: Class of the error to raise.
        hint: How to mend it.

    Returns:
        Its inputs and outputs.

    Raises:
        C2TError: Of the class `error`: names the first thing that is not expected.
    """
    content = read_bounded(path, bytes_max=GRAPH_BYTES_MAX, error=error, hint=hint)
    data = path.with_name(f"{path.name}.data")
    place = DataPlace(data.name, data.lstat().st_size if data.exists() else 0)
    ends = GraphEnds()
    try:
        problem = next(_problems(memoryview(content), place, ends), None)
    except (IndexError, ValueError):  # also of text that is not UTF-8
        problem = "is not an ONNX graph"
    if problem is not None:
        problem = f"{path.name} {problem}"
        raise error(problem, hint=hint)
    return ends


def _problems(model: memoryview, data: DataPlace, ends: GraphEnds) -> Iterator[str]:
    graphs = 0
    for number, value in fields(model):
        if number == MODEL_FUNCTIONS:
            yield "defines functions of its own"
        elif number == MODEL_GRAPH:
            graphs += 1
            yield from _problems_of_graph(content_of(value), data, ends)
    if graphs != 1:
        yield f"holds {graphs} graphs"


def _problems_of_graph(graph: memoryview, data: DataPlace, ends: GraphEnds) -> Iterator[str]:
    nodes = 0
    for number, value in fields(graph):
        if number == GRAPH_NODE:
            nodes += 1
            yield from _problems_of_node(content_of(value), data)
        elif number == GRAPH_INITIALIZER:
            yield from _problems_of_tensor(content_of(value), data)
        elif number == GRAPH_SPARSE:
            yield "has sparse weights"
        elif number in (GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE):
            read_end(value, {GRAPH_INPUT: ends.inputs, GRAPH_OUTPUT: ends.outputs}.get(number, {}))
    if not nodes:
        yield "computes nothing: it has no nodes"


def _problems_of_node(node: memoryview, data: DataPlace) -> Iterator[str]:
    operator = domain = ""
    for number, value in fields(node):
        if number == NODE_OPERATOR:
            operator = text_of(value)
        elif number == NODE_DOMAIN:
            domain = text_of(value)
        elif number in NODE_NAMES:
            text_of(value)
        elif number == NODE_ATTRIBUTE:
            for part, content in fields(content_of(value)):
                if part in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                    yield "has a graph within its graph"
                elif part in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                    yield from _problems_of_tensor(content_of(content), data)
                elif part == ATTRIBUTE_NAME:
                    text_of(content)
    domain = "" if domain == "ai.onnx" else domain
    if operator not in OPERATORS.get(domain, ()):
        yield f"has the operator {(domain or 'ai.onnx') + '.' + operator!r}, which c2t never writes"


def _problems_of_tensor(tensor: memoryview, data: DataPlace) -> Iterator[str]:
    """What is wrong with a tensor: its place, its type, or more or fewer bytes than it needs."""
    dims: list[int] = []
    kind, raw, elsewhere = 0, -1, False
    entries: dict[str, str] = {}
    for number, value in fields(tensor):
        if number == TENSOR_DIMS:
            dims += numbers_of(value)
        elif number == TENSOR_TYPE:
            kind = number_of(value)
        elif number == TENSOR_RAW:
            raw = len(content_of(value))
        elif number == TENSOR_NAME:
            text_of(value)
        elif number == TENSOR_LOCATION:
            elsewhere = number_of(value) != 0
        elif number == TENSOR_EXTERNAL:
            parts = {part: text_of(text) for part, text in fields(content_of(value))}
            key = parts.get(ENTRY_KEY, "")
            if key not in EXTERNAL_KEYS or key in entries:
                yield f"says {key!r} of the place of a weight"
            entries[key] = parts.get(ENTRY_VALUE, "")
    if entries or elsewhere:
        yield from _problems_of_place(entries, data)
    if kind not in ELEMENT_BYTES:
        yield f"has a weight of the type {kind}, which c2t never writes"
        return
    length = math.prod(dims) * ELEMENT_BYTES[kind]
    if min(dims, default=0) < 0:
        yield f"has a weight of the shape {dims}"
    elif entries:
        start, stated = int(entries.get("offset", "0")), entries.get("length")
        if stated is not None and int(stated) != length:
            yield f"has a weight of {length:,} bytes, said to be {int(stated):,}"
        if start + length > data.bytes:
            yield f"has weights up to byte {start + length:,} of {data.name}, of {data.bytes:,}"
    elif raw not in (-1, length):
        yield f"has a weight of {length:,} bytes, of which {raw:,} are there"


def _problems_of_place(entries: dict[str, str], data: DataPlace) -> Iterator[str]:
    where = entries.get("location", "")
    if where != data.name:
        yield f"has weights in {where!r}; they may lie in {data.name} only"
    for key in ("offset", "length"):
        if key in entries and not DIGITS.fullmatch(entries[key]):
            yield f"has weights whose {key} is {entries[key]!r}"


def read_end(value: Content, into: dict[str, tuple[int, list[int | None]]]) -> None:
    """Read an input, an output, or a value that lies between: its type and its shape, by name."""
    name, kind, shape = "", 0, list[int | None]()
    for number, content in fields(content_of(value)):
        if number == VALUE_NAME:
            name = text_of(content)
        elif number == VALUE_TYPE:
            for part in messages(content, TYPE_TENSOR):
                for key, inner in fields(part):
                    if key == TENSOR_ELEMENT:
                        kind = number_of(inner)
                    elif key == TENSOR_SHAPE:
                        shape = [_dimension(d) for d in messages(inner, SHAPE_DIMENSION)]
    into[name] = kind, shape


def _dimension(dimension: memoryview) -> int | None:
    numbers = [number_of(value) for key, value in fields(dimension) if key == DIMENSION_NUMBER]
    return numbers[-1] if numbers else None
