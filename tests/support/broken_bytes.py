"""Lines with a few faults, as a broken or hostile peer sends them."""

from __future__ import annotations

import random
import struct


def broken(generator: random.Random, data: bytes) -> bytes:
    """The data with a few faults."""
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 5))):
        place = generator.randrange(len(changed))
        kind = generator.randrange(6)
        if kind == 0:
            changed[place] = generator.randrange(256)
        elif kind == 1:
            del changed[place : place + generator.randrange(1, 20)]
        elif kind == 2:
            changed[place:place] = generator.randbytes(generator.randrange(1, 9))
        elif kind == 3:
            changed[place:place] = generator.choice(
                (
                    b'"',
                    b"\\u",
                    b"\\ud83d\\ude00",
                    b"[[[",
                    b"{",
                    b"}",
                    b"1e308",
                    b"-",
                    b"\n",
                    b"null",
                )
            )
        elif kind == 4:
            changed[place:place] = changed[: generator.randrange(60)]
        else:
            changed[place:place] = struct.pack("<d", generator.random())
        if not changed:
            changed = bytearray(b"\n")
    return bytes(changed)
