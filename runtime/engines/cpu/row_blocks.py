"""A piece of a graph whose product has very many columns, as pieces of some columns each.

One decision: the weight is cut, the nodes stay. ONNX Runtime turns the rows of such a weight into
columns before each run, alone on one core and into memory of its own: 590 MB of Gemma-2's table in
1.1 s. Blocks that fit into a cache take a fifth of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from c2t.runtime.bundle.graph_check import (
    ELEMENT_BYTES,
    ENTRY_KEY,
    ENTRY_VALUE,
    GRAPH_INITIALIZER,
    MODEL_GRAPH,
    TENSOR_DIMS,
    TENSOR_EXTERNAL,
    TENSOR_NAME,
    TENSOR_RAW,
    TENSOR_TYPE,
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
from c2t.runtime.engines.cpu.graph_pieces import Piece


def row_blocks(piece: Piece, *, block_bytes: int) -> list[Piece]:
    """Cut the last product of a piece into blocks of its columns.

    Args:
        piece: Its result [R, V] is that of the Gemm of the same name, "product", whose weight
            "product.weight" is [V, D]. What else has a name that begins with "product." and V rows
            is cut, too.
        block_bytes: Of the weight, in a block.

    Returns:
        Pieces whose results are [R, some columns], in order; the piece itself where its weight is
        not larger than a block.

    Raises:
        ValueError: There is no such weight, or it is not stored as c2t stores weights.
    """
    tables = [_Table(part) for part in _initializers(piece.content)]
    found = [table for table in tables if table.name == f"{piece.output}.weight" and table.dims]
    if not found:
        problem = f"{piece.output} has no weight"
        raise ValueError(problem)
    rows = found[0].dims[0]
    step = max(1, block_bytes // found[0].row_bytes)
    if rows <= step:
        return [piece]
    return [_block(piece, rows, begin, min(begin + step, rows)) for begin in range(0, rows, step)]


def _initializers(model: bytes) -> Iterator[memoryview]:
    for key, graph in fields(memoryview(model)):
        if key == MODEL_GRAPH:
            for part, content in fields(content_of(graph)):
                if part == GRAPH_INITIALIZER:
                    yield content_of(content)


def _block(piece: Piece, rows: int, begin: int, end: int) -> Piece:
    """The piece with rows [begin, end) of all that has `rows` of them."""
    model, saved = list[bytes](), 0
    for field in whole_fields(memoryview(piece.content)):
        if field.number != MODEL_GRAPH:
            model.append(bytes(field.raw))
            continue
        graph = list[bytes]()
        for part in whole_fields(content_of(field.content)):
            raw = bytes(part.raw)
            if part.number == GRAPH_INITIALIZER:
                table = _Table(content_of(part.content))
                if table.name.startswith(f"{piece.output}.") and table.dims[:1] == [rows]:
                    raw = bytes_field(GRAPH_INITIALIZER, table.cut(begin, end))
                    saved += (rows - (end - begin)) * table.row_bytes
            graph.append(raw)
        model.append(bytes_field(MODEL_GRAPH, b"".join(graph)))
    return replace(piece, content=b"".join(model), weight_bytes=piece.weight_bytes - saved)


class _Table:
    """A stored tensor, whose rows lie one behind the other."""

    def __init__(self, tensor: memoryview) -> None:
        self._tensor = tensor
        self.name, self.dims, kind = "", list[int](), 0
        for number, value in fields(tensor):
            if number == TENSOR_NAME:
                self.name = text_of(value)
            elif number == TENSOR_DIMS:
                self.dims += numbers_of(value)
            elif number == TENSOR_TYPE:
                kind = number_of(value)
        self.row_bytes = math.prod(self.dims[1:]) * ELEMENT_BYTES[kind]

    def cut(self, begin: int, end: int) -> bytes:
        """The tensor of rows [begin, end).

        Raises:
            ValueError: Its data are neither raw bytes nor in the data file.
        """
        first, size = begin * self.row_bytes, (end - begin) * self.row_bytes
        parts = [number_field(TENSOR_DIMS, count) for count in (end - begin, *self.dims[1:])]
        raw, place = b"", dict[str, str]()
        for field in whole_fields(self._tensor):
            if field.number == TENSOR_RAW:
                raw = bytes(content_of(field.content)[first : first + size])
            elif field.number == TENSOR_EXTERNAL:
                entry = dict(fields(content_of(field.content)))
                place[text_of(entry[ENTRY_KEY])] = text_of(entry[ENTRY_VALUE])
            elif field.number != TENSOR_DIMS:
                parts.append(bytes(field.raw))
        if raw:
            parts.append(bytes_field(TENSOR_RAW, raw))
        elif place:
            place |= {"offset": str(first + int(place.get("offset", "0"))), "length": str(size)}
            parts += [_entry(key, value) for key, value in place.items()]
        else:
            problem = f"{self.name} is stored number by number"
            raise ValueError(problem)
        return b"".join(parts)


def _entry(key: str, value: str) -> bytes:
    """A part of the place of a tensor in the data file."""
    pair = bytes_field(ENTRY_KEY, key.encode()) + bytes_field(ENTRY_VALUE, value.encode())
    return bytes_field(TENSOR_EXTERNAL, pair)
