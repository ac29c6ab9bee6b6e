"""The graph pass that puts INT8 attention into an encoder: node by node, without onnx.

Its input is a graph of a bundle; its output goes to ONNX Runtime and is never stored.
"""

from __future__ import annotations

import math
import struct

from c2t.kernels.native import ISA_NUMBER
from c2t.runtime.bundle.graph_check import (
    ATTRIBUTE_NAME,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_DOMAIN,
    NODE_NAMES,
    NODE_OPERATOR,
    TENSOR_ELEMENT,
    TYPE_TENSOR,
    VALUE_NAME,
    VALUE_TYPE,
)
from c2t.runtime.bundle.protobuf import (
    bytes_field,
    content_of,
    float_field,
    number_field,
    number_of,
    text_of,
    whole_fields,
)

# More field numbers and enum values of onnx.proto.
MODEL_IR_VERSION, MODEL_OPERATORS = 1, 8
OPERATORS_DOMAIN, OPERATORS_VERSION = 1, 2
GRAPH_NAME = 2
NODE_INPUT, NODE_OUTPUT = 1, 2
ATTRIBUTE_FLOAT, ATTRIBUTE_INTEGER, ATTRIBUTE_TYPE = 2, 3, 20
IS_FLOAT, IS_INTEGER, FLOAT32 = 1, 2, 1
IR_VERSION, OPSET = 11, 24

# Our operator (kernels/csrc/onnxruntime), and ONNX's.
DOMAIN, OPERATOR, OPERATOR_VERSION = "c2t", "Int8Attention", 1
STANDARD = "Attention"

# Of the graph of both: queries, keys, values.
INPUTS = ("query", "key", "value")
OUTPUTS = ("standard", "ours")


def use_int8_attention(model: bytes, isa: str) -> bytes | None:
    """A graph with INT8 attention in place of ONNX's, where that is plain.

    Plain is: queries, keys and values of as many heads and a scale, without a mask or a cache. All
    else is copied byte by byte.

    Args:
        model: The graph file, which `check_graph` has accepted.
        isa: A key of `ISA_NUMBER`.

    Returns:
        The changed graph file; None: there is no such node.
    """
    parts, replaced = list[bytes](), 0
    for field in whole_fields(memoryview(model)):
        if field.number != MODEL_GRAPH:
            parts.append(bytes(field.raw))
            continue
        nodes = list[bytes]()
        for part in whole_fields(content_of(field.content)):
            new = None
            if part.number == GRAPH_NODE:
                new = _replaced(content_of(part.content), isa)
            replaced += new is not None
            nodes.append(bytes(part.raw) if new is None else bytes_field(GRAPH_NODE, new))
        parts.append(bytes_field(MODEL_GRAPH, b"".join(nodes)))
    parts.append(_operators(DOMAIN, OPERATOR_VERSION))
    return b"".join(parts) if replaced else None


def _replaced(node: memoryview, isa: str) -> bytes | None:
    """A node of ours in place of a plain `Attention`; None: it is none."""
    operator = domain = ""
    names, attributes = list[bytes](), dict[str, float]()
    inputs = outputs = 0
    for field in whole_fields(node):
        if field.number == NODE_OPERATOR:
            operator = text_of(field.content)
        elif field.number == NODE_DOMAIN:
            domain = text_of(field.content)
        elif field.number == NODE_ATTRIBUTE:
            name, value = _attribute(content_of(field.content))
            attributes[name] = value
        elif field.number in NODE_NAMES:
            names.append(bytes(field.raw))
            inputs += field.number == NODE_INPUT and len(content_of(field.content)) > 0
            outputs += field.number == NODE_OUTPUT
    if (operator, domain, inputs, outputs, len(names)) != (STANDARD, "", 3, 1, 5):
        return None
    if attributes.keys() != {"q_num_heads", "kv_num_heads", "scale"}:
        return None
    heads, scale = attributes["q_num_heads"], attributes["scale"]
    if heads != attributes["kv_num_heads"] or not (heads >= 1 and 0 < scale < math.inf):
        return None
    return b"".join((*names, _our_operator(int(heads), scale, isa)))


def _attribute(attribute: memoryview) -> tuple[str, float]:
    """Name and number of an attribute; NaN where it has another kind of content."""
    name, value = "", math.nan
    for field in whole_fields(attribute):
        if field.number == ATTRIBUTE_NAME:
            name = text_of(field.content)
        elif field.number == ATTRIBUTE_INTEGER and isinstance(field.content, int):
            value = number_of(field.content)
        elif field.number == ATTRIBUTE_FLOAT and field.is_float and len(field.raw) == 5:
            (value,) = struct.unpack("<f", content_of(field.content))
    return name, value


def _our_operator(heads: int, scale: float, isa: str) -> bytes:
    """The fields of a node that say what it computes."""
    attributes = (
        ("heads", number_field(ATTRIBUTE_INTEGER, heads), IS_INTEGER),
        ("isa", number_field(ATTRIBUTE_INTEGER, ISA_NUMBER[isa]), IS_INTEGER),
        ("scale", float_field(ATTRIBUTE_FLOAT, scale), IS_FLOAT),
    )
    return b"".join(
        (
            bytes_field(NODE_OPERATOR, OPERATOR.encode()),
            bytes_field(NODE_DOMAIN, DOMAIN.encode()),
            *(bytes_field(NODE_ATTRIBUTE, _named(*attribute)) for attribute in attributes),
        )
    )


def _named(name: str, value: bytes, kind: int) -> bytes:
    return bytes_field(ATTRIBUTE_NAME, name.encode()) + value + number_field(ATTRIBUTE_TYPE, kind)


def graph_of_both(*, heads: int, head_size: int, isa: str) -> bytes:
    """A graph file with ONNX's attention and ours over the same inputs.

    Args:
        heads: Of queries, keys and values.
        head_size: Columns of one head.
        isa: A key of `ISA_NUMBER`.
    """
    scale = head_size**-0.5
    number = number_field(ATTRIBUTE_INTEGER, heads)
    attributes = (
        _named("q_num_heads", number, IS_INTEGER),
        _named("kv_num_heads", number, IS_INTEGER),
        _named("scale", float_field(ATTRIBUTE_FLOAT, scale), IS_FLOAT),
    )
    standard = bytes_field(NODE_OPERATOR, STANDARD.encode())
    standard += b"".join(bytes_field(NODE_ATTRIBUTE, attribute) for attribute in attributes)
    computed = (standard, _our_operator(heads, scale, isa))
    inputs = b"".join(bytes_field(NODE_INPUT, name.encode()) for name in INPUTS)
    graph = bytes_field(GRAPH_NAME, b"both")
    for name, operator in zip(OUTPUTS, computed, strict=True):
        output = bytes_field(NODE_OUTPUT, name.encode())
        graph += bytes_field(GRAPH_NODE, inputs + output + operator)
    kind = bytes_field(VALUE_TYPE, bytes_field(TYPE_TENSOR, number_field(TENSOR_ELEMENT, FLOAT32)))
    for field, names in ((GRAPH_INPUT, INPUTS), (GRAPH_OUTPUT, OUTPUTS)):
        for name in names:
            graph += bytes_field(field, bytes_field(VALUE_NAME, name.encode()) + kind)
    return b"".join(
        (
            number_field(MODEL_IR_VERSION, IR_VERSION),
            bytes_field(MODEL_GRAPH, graph),
            _operators("", OPSET),
            _operators(DOMAIN, OPERATOR_VERSION),
        )
    )


def _operators(domain: str, version: int) -> bytes:
    """The field of a model that names a set of operators."""
    named = bytes_field(OPERATORS_DOMAIN, domain.encode())
    return bytes_field(MODEL_OPERATORS, named + number_field(OPERATORS_VERSION, version))
