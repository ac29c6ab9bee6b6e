"""Mapped memory: what is given back, and what takes none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from c2t.kernels.linears.pack import packed_identity
from c2t.kernels.mapped import empty_pages, give_back

MEGABYTE = 1 << 20
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def resident(key: str) -> int:
    """Bytes of this process, of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
    return kilobytes << 10


def resident_of(path: Path) -> int:
    """Bytes of this process that are pages of a mapped file, of /proc/self/smaps."""
    here, kilobytes = False, 0
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        key, *rest = line.split()
        if not key.endswith(":"):  # a mapping begins
            here = line.endswith(str(path))
        elif here and key == "Rss:":
            kilobytes += int(rest[0])
    return kilobytes << 10


@needs_proc
def test_pages_of_a_mapped_file_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    numbers = np.arange(8 * MEGABYTE, dtype=np.int32)
    numbers.tofile(path)
    mapped = np.memmap(path, np.int32, mode="r")
    assert mapped.sum(dtype=np.int64) == numbers.sum(dtype=np.int64)
    # Of its 32 MB: the system takes pages of files back by itself where memory is short.
    assert resident_of(path) >= MEGABYTE
    give_back(mapped[100:200])  # a part of it gives back all
    assert resident_of(path) == 0
    np.testing.assert_array_equal(mapped, numbers)


def test_what_is_not_mapped_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    np.arange(100, dtype=np.int32).tofile(path)
    for array in (np.arange(3), np.memmap(path, np.int32, mode="r") + 1):
        before = array.copy()
        give_back(array)
        np.testing.assert_array_equal(array, before)


@needs_proc
def test_empty_pages_take_no_memory_when_they_are_read() -> None:
    before = resident("VmRSS")
    zeros = np.frombuffer(empty_pages(64 * MEGABYTE), np.float32)
    assert not zeros.any()
    assert resident("VmRSS") - before < 8 * MEGABYTE
    zeros[5] = 2
    assert zeros.sum() == 2


@needs_proc
@pytest.mark.parametrize("huge", [False, True])
def test_empty_pages_are_the_system_s_again(huge: bool) -> None:
    before = resident("RssAnon")
    numbers = np.frombuffer(empty_pages(64 * MEGABYTE, huge=huge), np.float32)
    numbers[:] = 1
    assert resident("RssAnon") - before >= 64 * MEGABYTE
    del numbers
    assert resident("RssAnon") - before < 8 * MEGABYTE


def test_pages_that_there_are_not_are_no_memory() -> None:
    with pytest.raises(MemoryError, match="no memory for 4,611,686,018,427,387,904 bytes"):
        empty_pages(1 << 62)


@pytest.mark.parametrize("size", [1, 64, 65, 200])
def test_the_identity_gives_what_it_gets(size: int) -> None:
    packed = packed_identity(size)
    matrix = np.concatenate(list(packed.panels), axis=1)[:, :size]
    np.testing.assert_array_equal(matrix, np.eye(size, dtype=np.float32))
    assert (packed.inputs, packed.columns, packed.struct.columns) == (size, size, size)
