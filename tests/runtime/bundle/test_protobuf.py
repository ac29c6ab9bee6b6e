"""Protobuf read field by field, and written."""

from __future__ import annotations

import struct

import pytest

from c2t.runtime.bundle.protobuf import (
    bytes_field,
    fields,
    float_field,
    number_field,
    number_of,
    numbers_of,
    whole_fields,
)


def test_what_is_written_is_read() -> None:
    parts = [
        number_field(1, 0),
        number_field(2, 127),
        number_field(3, 128),
        number_field(16, 1 << 40),
        bytes_field(5, b"text"),
        bytes_field(2047, bytes(300)),
        float_field(7, 0.125),
    ]
    found = list(whole_fields(memoryview(b"".join(parts))))
    assert [bytes(field.raw) for field in found] == parts
    assert [field.number for field in found] == [1, 2, 3, 16, 5, 2047, 7]
    assert [field.content for field in found[:4]] == [0, 127, 128, 1 << 40]
    assert [bytes(field.content) for field in found[4:6]] == [b"text", bytes(300)]
    assert struct.unpack("<f", found[6].content) == (0.125,)
    assert [field.is_float for field in found] == [False] * 6 + [True]


def test_it_is_what_google_s_library_writes() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: c2t[export]")
    attribute = onnx.helper.make_attribute("heads", 300)
    ours = bytes_field(1, b"heads") + number_field(3, 300) + number_field(20, 2)
    assert onnx.AttributeProto.FromString(ours) == attribute
    scale = bytes_field(1, b"scale") + float_field(2, 0.25) + number_field(20, 1)
    assert onnx.AttributeProto.FromString(scale) == onnx.helper.make_attribute("scale", 0.25)


def test_numbers_may_be_negative_or_packed() -> None:
    minus_one = (1 << 64) - 1
    assert number_of(minus_one) == -1
    packed = b"".join(number_field(1, number)[1:] for number in (3, 270, minus_one))
    assert numbers_of(memoryview(packed)) == [3, 270, -1]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (bytes_field(1, b"text")[:-1], IndexError),
        (float_field(1, 1.0)[:-1], IndexError),
        (b"\x80" * 11, ValueError),  # a number of more than 70 bits
        (b"\x0b", ValueError),  # a group, which onnx.proto has not
        (b"\x08\x80", IndexError),
    ],
)
def test_what_is_no_protobuf_is_an_error(message: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(fields(memoryview(message)))
