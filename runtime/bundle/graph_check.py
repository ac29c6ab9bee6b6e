"""What a graph of a bundle may hold, looked at before a library opens it.

A graph may come from a stranger, and ONNX can express loops without end and weights in any file. So
only the operators that c2t writes are accepted, no functions and no graphs within graphs, and
weights lie in the graph's own data file. The file is read as protobuf, by the field numbers of
onnx.proto: the runtime does not load onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError

# What export and calibration write, by domain. A new family's operators are added here.
OPERATORS = {
    "": frozenset(
        (
            *("Add", "Attention", "Cast", "Concat", "DequantizeLinear", "Expand", "GatherND"),
            *("Gelu", "Gemm", "Identity", "LayerNormalization", "MatMul", "Mul"),
            *("QuantizeLinear", "RMSNormalization", "Relu", "Reshape", "RotaryEmbedding", "Shape"),
            *("Sigmoid", "Slice", "Split", "TensorScatter", "Transpose", "Unsqueeze"),
        )
    ),
    "com.microsoft": frozenset(("MatMulNBits",)),
}
# A graph's weights lie in its data file. A graph of 100 layers has some hundred kilobytes without.
GRAPH_BYTES_MAX = 64 << 20
HINT = "export the bundle again with this version of c2t"

# Field numbers of onnx.proto.
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_EXTERNAL = 13
ENTRY_KEY, ENTRY_VALUE = 1, 2

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


def check_graph(path: Path) -> None:
    """Refuse a graph with operators, or with places of weights, that c2t does not write.

    Raises:
        BundleError: Names the first thing that is not expected.
    """
    content = read_bounded(path, bytes_max=GRAPH_BYTES_MAX, error=BundleError, hint=HINT)
    try:
        problem = next(_problems(memoryview(content), f"{path.name}.data"), None)
    except (IndexError, ValueError, UnicodeDecodeError):
        problem = "is not an ONNX graph"
    if problem is not None:
        problem = f"{path.name} {problem}"
        raise BundleError(problem, hint=HINT)


def _problems(model: memoryview, data_name: str) -> Iterator[str]:
    graphs = 0
    for field, value in _fields(model):
        if field == MODEL_FUNCTIONS:
            yield "defines functions of its own"
        elif field == MODEL_GRAPH:
            graphs += 1
            yield from _problems_of_graph(value, data_name)
    if graphs != 1:
        yield f"holds {graphs} graphs"


def _problems_of_graph(graph: memoryview, data_name: str) -> Iterator[str]:
    for field, value in _fields(graph):
        if field == GRAPH_NODE:
            yield from _problems_of_node(value, data_name)
        elif field == GRAPH_INITIALIZER:
            yield from _problems_of_tensor(value, data_name)
        elif field == GRAPH_SPARSE:
            yield "has sparse weights"


def _problems_of_node(node: memoryview, data_name: str) -> Iterator[str]:
    operator = domain = ""
    for field, value in _fields(node):
        if field == NODE_OPERATOR:
            operator = str(value, "utf-8")
        elif field == NODE_DOMAIN:
            domain = str(value, "utf-8")
        elif field == NODE_ATTRIBUTE:
            for part, content in _fields(value):
                if part in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                    yield "has a graph within its graph"
                elif part in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                    yield from _problems_of_tensor(content, data_name)
    domain = "" if domain == "ai.onnx" else domain
    if operator not in OPERATORS.get(domain, ()):
        yield f"has the operator {(domain or 'ai.onnx') + '.' + operator!r}, which c2t never writes"


def _problems_of_tensor(tensor: memoryview, data_name: str) -> Iterator[str]:
    for field, value in _fields(tensor):
        if field == TENSOR_EXTERNAL:
            entry = {part: str(content, "utf-8") for part, content in _fields(value)}
            if entry.get(ENTRY_KEY) == "location" and entry.get(ENTRY_VALUE) != data_name:
                where = entry.get(ENTRY_VALUE)
                yield f"has weights in {where!r}; they may lie in {data_name} only"


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protobuf message; numbers have no content here.

    Raises:
        IndexError: The message ends within a field.
        ValueError: It is no protobuf.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        content = message[:0]
        if kind == VARINT:
            _, position = _varint(message, position)
        elif kind == BYTES:
            length, position = _varint(message, position)
            content = message[position : position + length]
            position += length
        elif kind in (FIXED32, FIXED64):
            position += 4 if kind == FIXED32 else 8
        else:
            problem = f"wire type {kind}"
            raise ValueError(problem)
        if position > len(message):
            problem = "the message ends within a field"
            raise IndexError(problem)
        yield number, content


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and the position behind it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    problem = "a number of more than 70 bits"
    raise ValueError(problem)
