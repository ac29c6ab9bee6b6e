"""Packed weights in a file, which are used where they lie.

One decision: the arrays have no names. They come in the order in which packing makes them, so that
a model is put together by the same code from weights that it packs and from weights that it finds;
each must have the shape and dtype that packing would give it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.errors import KernelError

ALIGNMENT = 64  # a cache line
DTYPES = ("float32", "int8", "int32")
HINT = "build it again"


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """Where an array lies in the file.

    Args:
        offset: Of its first byte.
        dtype: One of `DTYPES`.
        shape: Of it.
    """

    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its length."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class StoredArrays:
    """Arrays of a mapped file, one after the other; read-only.

    Args:
        path: The file.
        arrays: In their order.
        input_scales: Of the linears in int8, in their order.

    Raises:
        KernelError: An array does not lie inside the file.
        OSError: The file cannot be mapped.
    """

    def __init__(
        self, path: Path, arrays: Sequence[StoredArray], input_scales: Sequence[float]
    ) -> None:
        self._arrays, self._scales = iter(arrays), iter(input_scales)
        self._memory = np.memmap(path, np.uint8, mode="r")
        for stored in arrays:
            _check(stored, len(self._memory))

    def array(self, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """The next array.

        Raises:
            KernelError: It has another dtype or shape, or there is none.
        """
        stored = next(self._arrays, None)
        wanted = np.dtype(dtype).name
        if stored is None or (stored.dtype, stored.shape) != (wanted, shape):
            found = "none" if stored is None else f"{stored.dtype} {list(stored.shape)}"
            problem = f"stored weights have {found} in place of {wanted} {list(shape)}"
            raise KernelError(problem, hint=HINT)
        place = self._memory[stored.offset : stored.offset + stored.bytes]
        array: NDArray[Any] = place.view(wanted).reshape(shape)
        return array

    def input_scale(self) -> float:
        """The next one.

        Raises:
            KernelError: There is none.
        """
        scale = next(self._scales, math.nan)
        if not (math.isfinite(scale) and scale > 0):
            problem = f"stored weights have an input scale of {scale}"
            raise KernelError(problem, hint=HINT)
        return scale

    def check_end(self) -> None:
        """Check that nothing is left.

        Raises:
            KernelError: Something is.
        """
        if next(self._arrays, None) is not None or next(self._scales, None) is not None:
            problem = "stored weights have more than the model"
            raise KernelError(problem, hint=HINT)


def write_arrays(stream: BinaryIO, arrays: Iterable[NDArray[Any]]) -> list[StoredArray]:
    """Write arrays one after the other, each at a cache line.

    Raises:
        OSError: It cannot be written.
    """
    places, offset = list[StoredArray](), 0
    for array in arrays:
        padding = -offset % ALIGNMENT
        stream.write(bytes(padding))
        offset += padding
        places.append(StoredArray(offset=offset, dtype=array.dtype.name, shape=array.shape))
        stream.write(np.ascontiguousarray(array).data)
        offset += array.nbytes
    return places


def _check(stored: StoredArray, length: int) -> None:
    sizes = (stored.offset, *stored.shape)
    known = stored.dtype in DTYPES and all(size >= 0 for size in sizes)
    if not known or stored.offset % ALIGNMENT or stored.offset + stored.bytes > length:
        problem = f"{stored.dtype} {list(stored.shape)} at {stored.offset} of {length} bytes"
        raise KernelError(problem, hint=HINT)
