"""Protobuf messages read field by field, and written: the runtime does not load onnx for graphs.

One decision: fields come as views of the bytes that were read. What is not changed is copied as it
was, whatever it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
Content = memoryview | int | float  # of a field: a message, text or bytes; a number


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Args:
        number: As onnx.proto has it.
        content: A number, or the bytes of a message, text or float.
        is_float: Whether the content is that of a float of 4 or 8 bytes.
        raw: The whole field: key, length and content.
    """

    number: int
    content: memoryview | int
    is_float: bool
    raw: memoryview


def whole_fields(message: memoryview) -> Iterator[Field]:
    """Each field of a message, in the order of the bytes.

    Raises:
        IndexError: The message ends within a field.
        ValueError: It is no protobuf.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        content: memoryview | int
        if kind == VARINT:
            content, position = _varint(message, position)
        else:
            if kind == BYTES:
                length, position = _varint(message, position)
            elif kind in (FIXED32, FIXED64):
                length = 4 if kind == FIXED32 else 8
            else:
                problem = f"wire type {kind}"
                raise ValueError(problem)
            content = message[position : position + length]
            position += length
        if position > len(message):
            problem = "the message ends within a field"
            raise IndexError(problem)
        yield Field(number, content, kind in (FIXED32, FIXED64), message[start:position])


def fields(message: memoryview) -> Iterator[tuple[int, Content]]:
    """Number and content of each field; floats of 8 bytes have no content here.

    Raises:
        IndexError: The message ends within a field.
        ValueError: It is no protobuf.
    """
    for field in whole_fields(message):
        content: Content = field.content
        if field.is_float:
            assert isinstance(content, memoryview)
            content = struct.unpack("<f", content)[0] if len(content) == 4 else message[:0]
        yield field.number, content


def messages(message: Content, number: int) -> list[memoryview]:
    """The messages in the fields of that number."""
    return [content_of(value) for key, value in fields(content_of(message)) if key == number]


def content_of(value: Content) -> memoryview:
    """The bytes of a field that holds no number.

    Raises:
        ValueError: It holds a number.
    """
    if not isinstance(value, memoryview):
        problem = "a number where a message should be"
        raise ValueError(problem)
    return value


def text_of(value: Content) -> str:
    """A text; all that a library may read must be UTF-8, or reading it is an error of its own.

    Raises:
        ValueError: It is not, or is no text.
    """
    return str(content_of(value), "utf-8")


def number_of(value: Content) -> int:
    """A signed number of 64 bits.

    Raises:
        ValueError: It is no number.
    """
    if not isinstance(value, int):
        problem = "a message where a number should be"
        raise ValueError(problem)
    return value - (1 << 64) if value >= 1 << 63 else value


def numbers_of(value: Content) -> list[int]:
    """Numbers that stand alone or packed together.

    Raises:
        IndexError: They end within a number.
        ValueError: One has more than 70 bits.
    """
    if isinstance(value, int):
        return [number_of(value)]
    packed = content_of(value)
    numbers, position = [], 0
    while position < len(packed):
        number, position = _varint(packed, position)
        numbers.append(number_of(number))
    return numbers


def number_field(number: int, value: int) -> bytes:
    """A field that holds a number of at least 0."""
    return _varint_bytes(number << 3 | VARINT) + _varint_bytes(value)


def bytes_field(number: int, content: bytes) -> bytes:
    """A field that holds a message or the bytes of a text."""
    return _varint_bytes(number << 3 | BYTES) + _varint_bytes(len(content)) + content


def float_field(number: int, value: float) -> bytes:
    """A field that holds a float of 4 bytes."""
    return _varint_bytes(number << 3 | FIXED32) + struct.pack("<f", value)


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


def _varint_bytes(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
