"""Other processes, limits of this one, its memory, and what lies on the disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from c2t.runtime.system.portable.processes import runs
from c2t.runtime.system.portable.sync import sync_path

LIMITED = """
import sys
from c2t.runtime.system.portable.limits import limit_this_process
limit_this_process(cpu_seconds=2, memory_bytes=200 << 20)
block = bytearray(100 << 20)
print("small", flush=True)
{rest}
print("all")
"""


def python(code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-P", "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout)


def test_a_process_runs_until_it_has_ended() -> None:
    assert runs(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert runs(child.pid)
    assert not runs(child.pid)
    assert not runs(4_000_000_000)
    assert not runs(10**10 - 1)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and wine limit no memory")
def test_a_limited_process_gets_no_more_memory() -> None:
    done = python(LIMITED.format(rest="bytearray(300 << 20)"))
    assert done.stdout.split() == ["small"]
    assert "MemoryError" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="wine keeps no limits")
def test_a_limited_process_gets_no_more_time() -> None:
    done = python(LIMITED.format(rest="while True: pass"))
    assert done.stdout.split() == ["small"]
    assert done.returncode < 0


def test_peak_memory_grows_with_what_is_used() -> None:
    code = """
from c2t.runtime.system.portable.memory import peak_memory
before = peak_memory()  # on Linux at least that of the process that started this one
block = bytearray(b"x") * (before + (200 << 20))
print(before, peak_memory())
"""
    before, after = map(int, python(code).stdout.split())
    assert before > 1 << 20
    assert 190 << 20 < after - before < 350 << 20


def test_files_and_folders_are_synced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a\nb")
    sync_path(file)
    sync_path(tmp_path)
    assert file.read_bytes() == b"a\nb"
    with pytest.raises(FileNotFoundError):
        sync_path(tmp_path / "none")
