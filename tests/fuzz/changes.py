"""Changes to bytes and to JSON documents, by a seeded generator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"
SENTENCES = TINY.with_name("tiny_sentence_bundle")

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 64, 255, 256, 4096, 32767, 32768, 65536, 1 << 20, (1 << 24) - 1, 1 << 24),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63),
    *(1 << 64, -(1 << 31), -(1 << 63), 10**30, 0.5, -0.0, 1e-300, 1e300, 1e308 * 10),
)
TEXTS = (
    *("", "é", "\x00", "\x1b[2J", "../x", "/etc/passwd", ".", "..", "a/b", "x" * 70_000, "💥"),
    *("null", "NaN", "-1", "int8", "float32", "decoder.onnx.data", "manifest.json", "ENSG1"),
)


def change_bytes(content: bytes, random: Random) -> bytes:
    """Flip, cut, double, insert or overwrite some bytes."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        place = random.randrange(len(data) + 1)
        match random.randrange(8):
            case 0:
                del data[place:]
            case 1:
                del data[place : place + random.randrange(1, 64)]
            case 2:
                data[place:place] = random.randbytes(random.randrange(1, 16))
            case 3:
                data[place:place] = data[place : place + random.randrange(1, 256)]
            case 4:
                data[place : place + 4] = random.choice((0, 1 << 31, (1 << 32) - 1)).to_bytes(4)
            case 5:
                data[place : place + 8] = random.choice(
                    (b"\0" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f")
                )
            case _:
                if place < len(data):
                    data[place] ^= 1 << random.randrange(8)
    return bytes(data)


def change_json(document: Any, random: Random) -> Any:
    """A document with one to three values changed, dropped, doubled or nested deeply."""
    document = json.loads(json.dumps(document))
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            return document
        holder, key = random.choice(places)
        match random.randrange(8):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(holder[key])
            case 2 if isinstance(holder, dict):
                holder[random.choice(TEXTS)] = holder[key]
            case _:
                holder[key] = other_value(holder[key], random)
    return document


def other_value(value: Any, random: Random) -> Any:
    """Mostly a value of the same type, sometimes of another."""
    if random.random() < 0.7:
        if isinstance(value, bool):
            return not value
        if isinstance(value, int | float):
            return random.choice((*NUMBERS, value + 1, value - 1, value * 2, value * 1000))
        if isinstance(value, str):
            return random.choice((*TEXTS, value + "x", value[:-1], value.upper()))
    if random.random() < 0.05:
        deep: Any = []
        for _ in range(random.choice((50, 500))):
            deep = [deep] if random.random() < 0.5 else {"a": deep}
        return deep
    return random.choice((None, True, [], {}, [[]], [1] * 1000, {"a": 1}, "", 1, 1.5, "x"))


def encode(document: Any, random: Random) -> bytes:
    """A document as JSON; rarely damaged, or so deep that a reader may recurse."""
    content = json.dumps(document).encode()
    match random.randrange(40):
        case 0:
            return change_bytes(content, random)
        case 1:
            depth = random.choice((900, 5_000, 100_000))
            return content.replace(b"1", b"[" * depth + b"]" * depth, 1)
    return content


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in items:
        yield document, key
        yield from _places(value)
