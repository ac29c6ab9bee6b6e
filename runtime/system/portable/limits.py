"""Limits that a process sets itself before it runs a stranger's program."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from pathlib import Path

from c2t.runtime.system.portable.memory import committed_memory

_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_PROCESS_TIME, _PROCESS_MEMORY = 0x2, 0x100  # JOB_OBJECT_LIMIT_*


def limit_this_process(*, cpu_seconds: int, memory_bytes: int) -> None:
    """Let the system end this process or refuse it memory. On macOS no limit of memory holds.

    Args:
        cpu_seconds: Beyond what it has used.
        memory_bytes: Beyond what it has now.

    Raises:
        OSError: The system refuses such limits.
    """
    cpu_seconds += math.ceil(time.process_time())
    if sys.platform == "win32":
        _limit_by_a_job(cpu_seconds, committed_memory() + memory_bytes)
        return
    import resource

    _, most_seconds = resource.getrlimit(resource.RLIMIT_CPU)
    if most_seconds != resource.RLIM_INFINITY:  # it can only be lowered
        cpu_seconds = min(cpu_seconds, most_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.is_file():  # Linux
        used = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = used + memory_bytes
        if most == resource.RLIM_INFINITY or limit < most:
            resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _limit_by_a_job(cpu_seconds: int, memory_bytes: int) -> None:
    if sys.platform != "win32":
        raise AssertionError
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel32.CreateJobObjectW.restype = kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    job = ctypes.c_void_p(kernel32.CreateJobObjectW(None, None))  # lives as long as the process
    limits = _ExtendedLimits(
        process_time=cpu_seconds * 10_000_000,  # in units of 100 ns
        flags=_PROCESS_TIME | _PROCESS_MEMORY,
        process_memory=memory_bytes,
    )
    size = ctypes.sizeof(limits)
    this = ctypes.c_void_p(kernel32.GetCurrentProcess())
    if not (
        kernel32.SetInformationJobObject(job, _EXTENDED_LIMITS, ctypes.byref(limits), size)
        and kernel32.AssignProcessToJobObject(job, this)
    ):
        raise ctypes.WinError(ctypes.get_last_error())


class _ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )
