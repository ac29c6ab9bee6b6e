"""The compiled library: where it is, and which instruction set this process uses.

`C2T_FORCE_ISA` forces scalar, avx2, avx512, amx, neon or numpy: for tests, and to find a faulty
one.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from c2t.kernels.errors import KernelError

FORCE_VARIABLE = "C2T_FORCE_ISA"
LIBRARY_NAME = {"win32": "c2t_kernels.dll", "darwin": "libc2t_kernels.dylib"}.get(
    sys.platform, "libc2t_kernels.so"
)
LIBRARY_VARIABLE = "C2T_KERNELS_LIBRARY"  # path of another build, such as that of sanitize.sh
NUMPY = "numpy"
# enum c2t_isa; of those that run here, the last is the fastest.
ISA_NUMBER = {"scalar": 0, "avx2": 1, "avx512": 2, "neon": 3, "amx": 4}

FEW_NUMBERS = 1 << 16  # some ten microseconds


@dataclass(frozen=True, kw_only=True)
class NativeStatus:
    """Which implementation runs, for `c2t doctor`.

    Args:
        isa: "amx", "avx512", "avx2", "neon", "scalar", or "numpy" where no library is used.
        library: Path of the library; None for "numpy".
        reason: Why this implementation, in words.
    """

    isa: str
    library: Path | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class NativeKernels:
    """A loaded library, bound to one instruction set.

    Args:
        isa: One of `ISA_NUMBER`'s numbers.
    """

    library: ctypes.CDLL
    isa: int

    @cached_property
    def locked(self) -> ctypes.PyDLL:
        """The library, for calls of microseconds: they keep the interpreter lock.

        Who lets go of it for so short a time waits for it afterwards, as long as another thread
        likes.
        """
        return ctypes.PyDLL(self.library._name, handle=self.library._handle)

    def library_for(self, numbers: int) -> ctypes.CDLL:
        """The library, which keeps the interpreter lock where a call reads so few numbers."""
        return self.locked if numbers <= FEW_NUMBERS else self.library

    def run(
        self,
        function: str,
        arguments: ctypes.Structure,
        threads: int,
        *,
        numbers: int | None = None,
    ) -> None:
        """Run a function of c2t_kernels.h; ctypes releases the interpreter lock for a long call.

        Args:
            function: Such as "c2t_embed".
            arguments: Its structure. The library checks nothing: shapes, dtypes and every index
                must have been checked.
            threads: How many to use at most.
            numbers: How many it reads or writes, for `library_for`; None: very many.

        Raises:
            MemoryError: The library ran out of memory.
        """
        library = self.library if numbers is None else self.library_for(numbers)
        if getattr(library, function)(ctypes.byref(arguments), self.isa, threads):
            message = "the native kernels ran out of memory"
            raise MemoryError(message)


class OpenedModel:
    """A packed model that the library has opened: its threads, and memory for its activations.

    Args:
        kernels: The library.
        name: Of its functions: `NAME_open` and `NAME_close`.
        struct: The model, as the library reads it; what it points at must stay as long as this.
        threads: How many to use.
        spin: Whether threads wait for the next run by spinning for a while.

    Raises:
        MemoryError: There is no memory for the activations.
    """

    def __init__(
        self,
        kernels: NativeKernels,
        name: str,
        struct: ctypes.Structure,
        threads: int,
        *,
        spin: bool,
    ) -> None:
        self._library = kernels.library
        opened, closed = (getattr(kernels.library, f"{name}_{verb}") for verb in ("open", "close"))
        opened.restype, opened.argtypes = ctypes.c_void_p, [ctypes.c_void_p, *[ctypes.c_int32] * 3]
        closed.restype, closed.argtypes = None, [ctypes.c_void_p]
        self._handle = opened(ctypes.byref(struct), kernels.isa, threads, spin)
        if not self._handle:
            message = f"no memory to open {name}"
            raise MemoryError(message)
        self.close = weakref.finalize(self, closed, self._handle)

    def run(self, function: str, arguments: ctypes.Structure) -> None:
        """Run a function of the opened model; the interpreter lock is released for the call.

        Raises:
            MemoryError: The library ran out of memory.
        """
        run = getattr(self._library, function)
        if run.argtypes is None:
            run.argtypes = [ctypes.c_void_p] * 2
        if run(self._handle, ctypes.byref(arguments)):
            message = "the native kernels ran out of memory"
            raise MemoryError(message)


def fastest(kernels: NativeKernels, function: str) -> str:
    """The fastest implementation of an operator, a key of `ISA_NUMBER`.

    Args:
        kernels: The library, and the implementation that is used where an operator has it.
        function: Of the library, which gives the implementations of the operator as bits.
    """
    mask = int(getattr(kernels.library, function)())
    return [n for n, i in ISA_NUMBER.items() if mask >> i & 1 and i <= kernels.isa][-1]


def native_status() -> NativeStatus:
    """Which implementation this process uses, and why.

    Raises:
        KernelError: `C2T_FORCE_ISA` names an implementation that does not run here.
    """
    return _select()[0]


def native_kernels() -> NativeKernels | None:
    """The library to use, or None for NumPy.

    Raises:
        KernelError: `C2T_FORCE_ISA` names an implementation that does not run here.
    """
    return _select()[1]


@cache
def _select() -> tuple[NativeStatus, NativeKernels | None]:
    forced = os.environ.get(FORCE_VARIABLE, "").strip().lower()
    if forced and forced != NUMPY and forced not in ISA_NUMBER:
        problem = f"{FORCE_VARIABLE}={forced} is no implementation of the kernels"
        raise KernelError(problem, hint=f"choose one of {', '.join((NUMPY, *ISA_NUMBER))}")
    if forced == NUMPY:
        return NativeStatus(isa=NUMPY, library=None, reason=f"{FORCE_VARIABLE} is set"), None

    path, library, missing = _load()
    if library is None:
        if forced:
            problem = f"{FORCE_VARIABLE}={forced}, but there is no compiled library: {missing}"
            raise KernelError(problem, hint="install c2t again where a C++ compiler is at hand")
        return NativeStatus(isa=NUMPY, library=None, reason=missing), None

    mask = int(library.c2t_isa_mask())
    supported = [name for name, number in ISA_NUMBER.items() if mask >> number & 1]
    if forced and forced not in supported:
        problem = f"{FORCE_VARIABLE}={forced}, which this processor or library lacks"
        raise KernelError(problem, hint=f"choose one of {', '.join((NUMPY, *supported))}")
    isa = forced or supported[-1]
    reason = f"{FORCE_VARIABLE} is set" if forced else f"the fastest of {', '.join(supported)}"
    kernels = NativeKernels(library=library, isa=ISA_NUMBER[isa])
    return NativeStatus(isa=isa, library=path, reason=reason), kernels


def _load() -> tuple[Path | None, ctypes.CDLL | None, str]:
    """Path and library, or why there is none."""
    # An editable install has two folders: one of the sources, one of the compiled library.
    from c2t import kernels

    paths = [Path(folder) / LIBRARY_NAME for folder in kernels.__path__]
    if other := os.environ.get(LIBRARY_VARIABLE):
        paths = [Path(other)]
    present = [path for path in paths if path.is_file()]
    if not present:
        return None, None, "c2t was installed without a C++ compiler"
    try:
        library = ctypes.CDLL(str(present[0]))
    except OSError as error:
        return None, None, f"{present[0]} cannot be loaded: {error}"
    return present[0], library, ""


def core_count() -> int:
    """Cores that this process may use; a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):  # Linux; macOS and Windows lack it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """The caller's number; None means one per core that this process may use.

    Raises:
        KernelError: `threads` is less than 1.
    """
    if threads is None:
        return core_count()
    if threads < 1:
        problem = f"threads = {threads}"
        raise KernelError(problem, hint="use one thread at least")
    return threads
