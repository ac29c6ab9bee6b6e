"""A lock on an open file that another process sees, and that ends with the process.

One decision: on Windows, one byte is locked that no file of ours ever has. Locks are mandatory
there: nobody else could read a locked byte of the content.
"""

from __future__ import annotations

import ctypes
import errno
import sys

_BYTE = 1 << 40
_FAIL_AT_ONCE, _EXCLUSIVE = 1, 2  # LOCKFILE_FAIL_IMMEDIATELY, LOCKFILE_EXCLUSIVE_LOCK
_HELD_BY_ANOTHER = (33, 997)  # ERROR_LOCK_VIOLATION, ERROR_IO_PENDING


def try_lock(handle: int, *, shared: bool = False) -> None:
    """Lock an open file. A file that is closed is not locked any more.

    Args:
        handle: Its descriptor; its position stays.
        shared: Together with others who ask for the same, and with nobody else.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: Files cannot be locked there.
    """
    if sys.platform == "win32":
        flags = _FAIL_AT_ONCE | (0 if shared else _EXCLUSIVE)
        if not _kernel32().LockFileEx(_os_handle(handle), flags, 0, 1, 0, _overlapped()):
            error = ctypes.WinError(ctypes.get_last_error())
            if error.winerror in _HELD_BY_ANOTHER:
                raise BlockingIOError(errno.EAGAIN, "another process has locked it") from error
            raise error
    else:
        import fcntl

        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except PermissionError as error:  # what some network file systems say
            raise BlockingIOError(errno.EAGAIN, "another process has locked it") from error


def unlock(handle: int) -> None:
    """Let others lock an open file."""
    if sys.platform == "win32":
        _kernel32().UnlockFileEx(_os_handle(handle), 0, 1, 0, _overlapped())
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_UN)


if sys.platform == "win32":
    import msvcrt
    from ctypes import wintypes
    from functools import cache

    class _Overlapped(ctypes.Structure):
        """OVERLAPPED: where the locked byte lies."""

        _fields_ = (
            ("internal", ctypes.c_void_p),
            ("internal_high", ctypes.c_void_p),
            ("offset", wintypes.DWORD),
            ("offset_high", wintypes.DWORD),
            ("event", wintypes.HANDLE),
        )

    @cache
    def _kernel32() -> ctypes.WinDLL:
        library = ctypes.WinDLL("kernel32", use_last_error=True)
        word, place = wintypes.DWORD, ctypes.POINTER(_Overlapped)
        library.LockFileEx.argtypes = (wintypes.HANDLE, word, word, word, word, place)
        library.UnlockFileEx.argtypes = (wintypes.HANDLE, word, word, word, place)
        return library

    def _os_handle(handle: int) -> int:
        return msvcrt.get_osfhandle(handle)

    def _overlapped() -> _Overlapped:
        return _Overlapped(offset=_BYTE & 0xFFFFFFFF, offset_high=_BYTE >> 32)
