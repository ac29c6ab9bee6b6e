"""Facts of a machine, from files as Linux has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from c2t.runtime.system.machine import Gpu, look_at_machine

CPUINFO = """processor\t: 0
model name\t: AMD EPYC 7B13
flags\t\t: fpu sse4_2 avx2 fma f16c avx512f made_up

processor\t: 1
model name\t: Another
flags\t\t: amx_int8
"""
MEMINFO = """MemTotal:       16384 kB
MemFree:         1024 kB
MemAvailable:    8192 kB
"""


def machine(root: Path, **files: str) -> Path:
    """A root folder; `cgroup_max` and `cgroup_current` are those of a container."""
    places = {
        "cpuinfo": "proc/cpuinfo",
        "meminfo": "proc/meminfo",
        "cgroup_max": "sys/fs/cgroup/memory.max",
        "cgroup_current": "sys/fs/cgroup/memory.current",
    }
    for name, text in files.items():
        path = root / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_processor_and_memory(tmp_path: Path) -> None:
    here = look_at_machine(machine(tmp_path, cpuinfo=CPUINFO, meminfo=MEMINFO))
    assert here.cpu == "AMD EPYC 7B13"
    assert here.cpu_features == ("avx2", "fma", "f16c", "avx512f")
    assert (here.memory_bytes, here.memory_available_bytes) == (16 << 20, 8 << 20)
    assert bool(here.gpus) != bool(here.gpu_problem)


def test_a_container_has_less(tmp_path: Path) -> None:
    group = {"cgroup_max": str(4 << 20), "cgroup_current": str(3 << 20)}
    here = look_at_machine(machine(tmp_path, meminfo=MEMINFO, **group))
    assert (here.memory_bytes, here.memory_available_bytes) == (4 << 20, 1 << 20)
    machine(tmp_path, cgroup_max="max\n")
    assert look_at_machine(tmp_path).memory_bytes == 16 << 20


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    here = look_at_machine(tmp_path)
    assert here.cpu_features == ()
    assert here.memory_bytes > 0  # asked of the C library
    assert here.memory_available_bytes is None or sys.platform == "win32"


def test_architecture_of_a_gpu() -> None:
    assert Gpu(name="H200", compute_capability="9.0", memory_bytes=1).sm == "sm_90"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes have no core masks")
def test_cores_are_those_that_this_process_may_use() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from c2t.runtime.system.machine import look_at_machine; print(look_at_machine().cores)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"1"]
