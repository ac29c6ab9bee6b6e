"""A graph in pieces that run one behind the other: node by node, without onnx.

One decision: a piece holds what its result needs, whatever else the graph holds. What two pieces
need, such as a mask, is computed in both. So pieces give what the whole graph gives, and only one
piece's weights must be in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from c2t.runtime.bundle.graph_check import (
    ELEMENT_BYTES,
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    NODE_NAMES,
    TENSOR_DIMS,
    TENSOR_ELEMENT,
    TENSOR_NAME,
    TENSOR_TYPE,
    TYPE_TENSOR,
    VALUE_NAME,
    VALUE_TYPE,
)
from c2t.runtime.bundle.protobuf import (
    bytes_field,
    content_of,
    fields,
    number_field,
    number_of,
    numbers_of,
    text_of,
    whole_fields,
)

NODE_INPUT, NODE_OUTPUT, _ = NODE_NAMES
GRAPH_NAME = 2
FLOAT32 = 1  # of onnx.proto's types


@dataclass(frozen=True)
class Piece:
    """A graph of its own.

    Args:
        content: The graph file; its weights lie in the data file of the whole graph.
        inputs: Names of what it reads, in the graph's order; the last piece's result may be one.
        output: Name of its result.
        weight_bytes: Of the weights that it reads.
    """

    content: bytes
    inputs: tuple[str, ...]
    output: str
    weight_bytes: int


def cut_graph(model: bytes, results: Sequence[str], *, weight_bytes: int) -> list[Piece]:
    """Cut a graph behind some of its values.

    Args:
        model: The graph file, which `check_graph` has accepted.
        results: Names of float32 values, in the order in which they are computed. Every piece ends
            with one of them, the last piece with the last.
        weight_bytes: As many results as have weights of at most that size together share a piece.

    Raises:
        KeyError: A value that the graph does not compute.
    """
    graph = _StoredGraph(model)
    pieces = list[Piece]()
    before, piece = "", None  # type: str, Piece | None
    for result in results:
        longer = graph.piece(result, before)
        if piece is not None and longer.weight_bytes > weight_bytes:
            pieces.append(piece)
            before = piece.output
            longer = graph.piece(result, before)
        piece = longer
    return [*pieces, piece] if piece is not None else pieces


@dataclass(frozen=True)
class _Node:
    raw: memoryview
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _StoredGraph:
    """The parts of a graph file."""

    def __init__(self, model: bytes) -> None:
        self._around = list[bytes]()  # all of the model that is not its graph
        self._nodes = list[_Node]()
        self._makers = dict[str, int]()  # numbers of nodes by what they compute
        self._weights = dict[str, tuple[memoryview, int]]()
        self._inputs = dict[str, memoryview]()
        self._outputs = dict[str, memoryview]()
        for field in whole_fields(memoryview(model)):
            if field.number != MODEL_GRAPH:
                self._around.append(bytes(field.raw))
                continue
            for part in whole_fields(content_of(field.content)):
                self._add(part.number, part.raw, part.content)

    def _add(self, number: int, raw: memoryview, content: memoryview | int) -> None:
        if number == GRAPH_NODE:
            names: dict[int, list[str]] = {NODE_INPUT: [], NODE_OUTPUT: []}
            for field, value in fields(content_of(content)):
                if field in names:
                    names[field].append(text_of(value))
            node = _Node(raw, tuple(names[NODE_INPUT]), tuple(names[NODE_OUTPUT]))
            self._makers |= dict.fromkeys(node.outputs, len(self._nodes))
            self._nodes.append(node)
        elif number == GRAPH_INITIALIZER:
            name, size = _weight(content_of(content))
            self._weights[name] = raw, size
        elif number in (GRAPH_INPUT, GRAPH_OUTPUT):
            into = self._inputs if number == GRAPH_INPUT else self._outputs
            (name,) = (text_of(v) for k, v in fields(content_of(content)) if k == VALUE_NAME)
            into[name] = raw

    def piece(self, result: str, before: str) -> Piece:
        """What computes a value from another one and the graph's inputs.

        Raises:
            KeyError: There is no such value.
        """
        needed, wanted = set[int](), [result]
        read, weights = set[str](), set[str]()
        while wanted:
            name = wanted.pop()
            if not name:  # an optional input that is left out
                continue
            if name == before or name in self._inputs:
                read.add(name)
            elif name in self._weights:
                weights.add(name)
            elif (number := self._makers[name]) not in needed:
                needed.add(number)
                wanted += self._nodes[number].inputs
        inputs = [name for name in (before, *self._inputs) if name in read]
        parts = [self._nodes[number].raw for number in sorted(needed)]
        parts.append(memoryview(bytes_field(GRAPH_NAME, b"piece")))
        parts += [raw for name, (raw, _) in self._weights.items() if name in weights]
        parts += [self._inputs.get(name) or _float_value(GRAPH_INPUT, name) for name in inputs]
        parts.append(self._outputs.get(result) or _float_value(GRAPH_OUTPUT, result))
        return Piece(
            content=b"".join((*self._around, bytes_field(MODEL_GRAPH, b"".join(parts)))),
            inputs=tuple(inputs),
            output=result,
            weight_bytes=sum(self._weights[name][1] for name in weights),
        )


def _weight(tensor: memoryview) -> tuple[str, int]:
    """Name and bytes of a weight."""
    name, dims, kind = "", list[int](), 0
    for number, value in fields(tensor):
        if number == TENSOR_NAME:
            name = text_of(value)
        elif number == TENSOR_DIMS:
            dims += numbers_of(value)
        elif number == TENSOR_TYPE:
            kind = number_of(value)
    return name, math.prod(dims) * ELEMENT_BYTES[kind]


def _float_value(field: int, name: str) -> memoryview:
    """The field of an input or an output of float32, of any shape."""
    kind = bytes_field(VALUE_TYPE, bytes_field(TYPE_TENSOR, number_field(TENSOR_ELEMENT, FLOAT32)))
    return memoryview(bytes_field(field, bytes_field(VALUE_NAME, name.encode()) + kind))
