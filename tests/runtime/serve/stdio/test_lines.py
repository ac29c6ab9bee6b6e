"""Lines, however they are cut into blocks, and lines that are too long."""

from __future__ import annotations

import io
import random
import tracemalloc

import pytest

from c2t.runtime.serve.stdio.lines import LongLine, read_lines


def lines_of(blocks: list[bytes], most: int) -> list[bytes | None]:
    source = iter([*blocks, b""])
    found = read_lines(lambda size: next(source), most)
    return [None if isinstance(line, LongLine) else line for line in found]


@pytest.mark.parametrize("seed", range(20))
def test_cuts_do_not_matter(seed: int) -> None:
    data = b"one\r\n\n  two \nthree\n" + b"x" * 10 + b"\n" + b"y" * 11 + b"\nfour\n" + b"z" * 40
    generator = random.Random(seed)
    cuts = sorted(generator.choices(range(len(data) + 1), k=8))
    blocks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    found = lines_of([block for block in blocks if block], 10)
    assert found == [b"one", b"two", b"three", b"x" * 10, None, b"four", None]


def test_last_line_needs_no_end() -> None:
    assert lines_of([b"a\nb"], 10) == [b"a", b"b"]
    assert lines_of([b"a\n "], 10) == [b"a"]


def test_endless_line_costs_no_memory() -> None:
    blocks = iter(range(2000))
    data = b"x" * (1 << 16)
    tracemalloc.start()
    found = list(read_lines(lambda size: data if next(blocks, None) is not None else b"", 1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 1
    assert isinstance(found[0], LongLine)
    assert peak < 4 << 20


def test_a_read_may_give_less_than_asked() -> None:
    source = io.BytesIO(b"a" * 100_000 + b"\nb\n")
    assert list(read_lines(source.read1, 1 << 20)) == [b"a" * 100_000, b"b"]
