"""Locks on open files, as other processes see them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from c2t.runtime.system.portable.file_lock import try_lock, unlock

OTHER = """
import os, sys
from c2t.runtime.system.portable.file_lock import try_lock
handle = os.open(sys.argv[1], os.O_RDWR)
try:
    try_lock(handle, shared=sys.argv[2] == "shared")
except BlockingIOError:
    print("held")
else:
    print("free", os.read(handle, 3).decode())
"""


def another(path: Path, how: str) -> str:
    """What another process finds."""
    words = [sys.executable, "-P", "-c", OTHER, str(path), how]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ("alone", "alone", "held"),
        ("alone", "shared", "held"),
        ("shared", "alone", "held"),
        ("shared", "shared", "free abc"),
    ],
)
def test_another_process_sees_it(tmp_path: Path, ours: str, theirs: str, found: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with path.open("r+b", buffering=0) as stream:
        stream.seek(2)
        try_lock(stream.fileno(), shared=ours == "shared")
        assert stream.tell() == 2
        assert another(path, theirs) == found
        assert path.read_bytes() == b"abc"  # on Windows, locked bytes cannot be read
        unlock(stream.fileno())
        assert another(path, theirs) == "free abc"


def test_closing_is_unlocking(tmp_path: Path) -> None:
    path = tmp_path / "file"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try_lock(handle)
    assert another(path, "alone") == "held"
    os.close(handle)
    assert another(path, "alone") == "free"
