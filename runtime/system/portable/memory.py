"""How much memory there is, and how much this process has needed, asked of the system."""

from __future__ import annotations

import ctypes
import sys


def peak_memory() -> int:
    """Bytes that this process has had resident at most.

    Source: getrusage(2); PROCESS_MEMORY_COUNTERS.PeakWorkingSetSize on Windows.
    """
    if sys.platform == "win32":
        return int(_counters().peak_working_set)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10  # macOS counts bytes, Linux KiB


def return_free_memory() -> None:
    """Give the system memory that this process has freed, where the C library kept it (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def committed_memory() -> int:
    """Bytes that this process has been promised, on Windows."""
    return int(_counters().committed)


def windows_memory() -> tuple[int, int] | None:
    """Bytes of memory, and free ones, on Windows; None elsewhere, where others tell."""
    if sys.platform != "win32":
        return None
    status = _MemoryStatus(size=ctypes.sizeof(_MemoryStatus))
    if not ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return status.total, status.available


def _counters() -> _Counters:
    if sys.platform != "win32":
        raise AssertionError
    counters = _Counters(size=ctypes.sizeof(_Counters))
    kernel32 = ctypes.WinDLL("kernel32")
    kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel32.GetCurrentProcess())
    kernel32.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size)
    return counters


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        ("pools", ctypes.c_size_t * 4),
        ("committed", ctypes.c_size_t),
        ("peak_committed", ctypes.c_size_t),
    )


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 5),
    )
