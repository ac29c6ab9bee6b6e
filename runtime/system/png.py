"""A picture of few colours as a PNG file: nothing but zlib is needed for it.

Source: Portable Network Graphics, W3C Recommendation (third edition), indexed colour.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3
COLOURS_MAX = 255


def indexed_png(pixels: NDArray[np.uint8], colours: Sequence[str]) -> bytes:
    """A whole PNG file.

    Args:
        pixels: [height, width] 0 for what is transparent, else the place of a colour, from 1 on.
        colours: At most 255, as "#rrggbb".
    """
    height, width = pixels.shape
    palette = b"\0\0\0" + b"".join(bytes.fromhex(colour[1:]) for colour in colours[:COLOURS_MAX])
    # Each line begins with its filter: 0 for none.
    lines = np.zeros((height, width + 1), np.uint8)
    lines[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", palette),
            _chunk(b"tRNS", b"\0"),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check
