"""Whether another process of this machine still runs."""

from __future__ import annotations

import ctypes
import os
import sys

_MAY_ASK = 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
_NO_SUCH_PROCESS, _STILL_ACTIVE = 87, 259  # ERROR_INVALID_PARAMETER, the exit code of a running one


def runs(process: int) -> bool:
    """Whether a process runs; True also where the system does not say.

    On Windows `os.kill(process, 0)` would send it Ctrl-C.
    """
    if sys.platform == "win32":
        if process >= 1 << 32:
            return False
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenProcess.restype = ctypes.c_void_p
        handle = kernel32.OpenProcess(_MAY_ASK, False, process)
        if not handle:
            return ctypes.get_last_error() != _NO_SUCH_PROCESS
        code = ctypes.c_uint32()
        told = kernel32.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
        kernel32.CloseHandle(ctypes.c_void_p(handle))
        return not told or code.value == _STILL_ACTIVE
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True
