"""PNG files, read back by their specification."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from c2t.runtime.system.png import indexed_png


def chunks(content: bytes) -> dict[bytes, bytes]:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = {}, 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        found[kind], at = body, at + 12 + length
    return found


def test_pixels_colours_and_transparency() -> None:
    pixels = np.array([[0, 1, 2], [2, 0, 1]], np.uint8)
    found = chunks(indexed_png(pixels, ["#ff0000", "#00ff7f"]))
    assert struct.unpack(">II", found[b"IHDR"][:8]) == (3, 2)
    assert found[b"PLTE"] == b"\0\0\0\xff\0\0\0\xff\x7f"
    assert found[b"tRNS"] == b"\0"
    assert zlib.decompress(found[b"IDAT"]) == b"\0\0\1\2\0\2\0\1"
    assert list(found)[-1] == b"IEND"
