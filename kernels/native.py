"""The compiled library: where it is, which instruction set it uses, and its C structures.

`C2T_FORCE_ISA` chooses scalar, avx2, avx512 or numpy, for tests and to find out what is at fault.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from c2t.kernels.errors import KernelError

FORCE_VARIABLE = "C2T_FORCE_ISA"
LIBRARY_NAME = "libc2t_kernels.so"
LIBRARY_VARIABLE = "C2T_KERNELS_LIBRARY"  # another build, such as the one of sanitize.sh
NUMPY = "numpy"
ISA_NUMBER = {"scalar": 0, "avx2": 1, "avx512": 2}  # enum c2t_isa; later is faster

_POINTER = ctypes.c_void_p


class EmbedArguments(ctypes.Structure):
    """struct c2t_embed_args of csrc/c2t_kernels.h."""

    _fields_ = (
        ("tokens", _POINTER),
        ("lengths", _POINTER),
        ("word", _POINTER),
        ("position", _POINTER),
        ("word_scale", _POINTER),
        ("position_scale", _POINTER),
        ("token_type", _POINTER),
        ("gamma", _POINTER),
        ("beta", _POINTER),
        ("out", _POINTER),
        ("cells", ctypes.c_int64),
        ("ranks", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("table_type", ctypes.c_int32),
        ("out_type", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        ("out_scale", ctypes.c_float),
    )


class RankArguments(ctypes.Structure):
    """struct c2t_rank_args of csrc/c2t_kernels.h."""

    _fields_ = (
        ("indptr", _POINTER),
        ("indices", _POINTER),
        ("data", _POINTER),
        ("column_gene", _POINTER),
        ("token", _POINTER),
        ("median", _POINTER),
        ("tokens", _POINTER),
        ("lengths", _POINTER),
        ("genes", _POINTER),
        ("totals", _POINTER),
        ("status", _POINTER),
        ("cells", ctypes.c_int64),
        ("vocabulary", ctypes.c_int64),
        ("max_tokens", ctypes.c_int64),
        ("cls_token", ctypes.c_int32),
        ("eos_token", ctypes.c_int32),
        ("pad_token", ctypes.c_int32),
        ("index_type", ctypes.c_int32),
        ("data_type", ctypes.c_int32),
        ("column_token", _POINTER),
        ("column_median", _POINTER),
    )


# enum c2t_type; uint16 holds the bits of bfloat16.
TYPE_NUMBER = {
    "float32": 0,
    "float16": 1,
    "uint16": 2,
    "int8": 3,
    "float64": 4,
    "int32": 5,
    "int64": 6,
}


@dataclass(frozen=True, kw_only=True)
class NativeStatus:
    """Which implementation runs, for `c2t doctor`.

    Args:
        isa: "avx512", "avx2", "scalar", or "numpy" where no library is used.
        library: Path of the library, or None.
        reason: Why it is this one, in words.
    """

    isa: str
    library: Path | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class NativeKernels:
    """A loaded library, bound to one instruction set."""

    library: ctypes.CDLL
    isa: int

    def embed(self, arguments: EmbedArguments, threads: int) -> None:
        """Run the gene embedding on arguments that were checked."""
        self._run(self.library.c2t_embed, arguments, threads)

    def rank(self, arguments: RankArguments, threads: int) -> None:
        """Run the rank-value encoding on arguments that were checked."""
        self._run(self.library.c2t_rank, arguments, threads)

    def _run(self, function: object, arguments: ctypes.Structure, threads: int) -> None:
        assert callable(function)
        # ctypes releases the interpreter lock for the call.
        if function(ctypes.byref(arguments), self.isa, threads):
            message = "the native kernels ran out of memory"
            raise MemoryError(message)


def native_status() -> NativeStatus:
    """Which implementation this process uses, and why.

    Raises:
        KernelError: If `C2T_FORCE_ISA` names something that is not there.
    """
    return _select()[0]


def native_kernels() -> NativeKernels | None:
    """The library to use, or None for NumPy.

    Raises:
        KernelError: If `C2T_FORCE_ISA` names something that is not there.
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
    # An editable install has two folders: the sources, and the one that holds what was compiled.
    from c2t import kernels

    paths = [Path(folder) / LIBRARY_NAME for folder in kernels.__path__]
    if other := os.environ.get(LIBRARY_VARIABLE):
        paths = [Path(other)]
    found = [path for path in paths if path.is_file()]
    if not found:
        return None, None, "c2t was installed without a C++ compiler"
    try:
        library = ctypes.CDLL(str(found[0]))
    except OSError as error:
        return None, None, f"{found[0]} cannot be loaded: {error}"
    library.c2t_isa_mask.argtypes = ()
    library.c2t_isa_mask.restype = ctypes.c_int32
    for function, structure in (
        (library.c2t_embed, EmbedArguments),
        (library.c2t_rank, RankArguments),
    ):
        function.argtypes = (ctypes.POINTER(structure), ctypes.c_int32, ctypes.c_int32)
        function.restype = ctypes.c_int32
    return found[0], library, ""


def core_count() -> int:
    """Cores that this process may use, which in a container are fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """The caller's number, or one per core that this process may use.

    Raises:
        KernelError: If `threads` is less than 1.
    """
    if threads is None:
        return core_count()
    if threads < 1:
        problem = f"threads = {threads}"
        raise KernelError(problem, hint="use one thread at least")
    return threads
