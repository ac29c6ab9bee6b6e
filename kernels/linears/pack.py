"""The weights of a linear in the order in which the CPU's kernels stream them.

One decision: weights are packed at opening, from the bundle's own graph, into panels of 64 columns
(see `csrc/linears/pack.inl`), or were packed before and are used where they lie.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.errors import KernelError
from c2t.kernels.linears.matrix import Int8Matrix
from c2t.kernels.linears.stored import StoredArrays
from c2t.kernels.mapped import empty_pages, give_back
from c2t.kernels.native import NativeKernels, thread_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from c2t.kernels.linears.matrix import Matrix

PANEL_COLUMNS = 64  # C2T_PANEL_COLUMNS
# Sums of that many products of an unsigned and a signed byte fit into 32 bits.
MAX_INPUTS = 65536
ALIGNMENT = 64
# Of panels that are pages of their own; small ones would leave much of their last page empty.
MAPPED_BYTES = 1 << 18


class LinearStruct(ctypes.Structure):
    """`struct c2t_linear`."""

    _fields_ = (
        ("panels", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("correction", ctypes.c_void_p),
        ("inputs", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("input_scale", ctypes.c_float),
        ("type", ctypes.c_int32),
    )


class BiasedStruct(ctypes.Structure):
    """`struct c2t_biased_linear`."""

    _fields_ = (("linear", LinearStruct), ("bias", ctypes.c_void_p))


class _PackStruct(ctypes.Structure):
    """`struct c2t_pack_args`."""

    _fields_ = (
        ("source", ctypes.c_void_p),
        ("panels", ctypes.c_void_p),
        ("correction", ctypes.c_void_p),
        ("inputs", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("type", ctypes.c_int32),
        ("by_output", ctypes.c_int32),
        ("halves", ctypes.c_int32),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedLinear:
    """A linear [K, N] as the native kernels read it.

    Args:
        panels: int8 [panels, K / 4 rounded up, 64, 4] or float32 [panels, K, 64].
        scale: float32 [panels, 64], what sums of integer products are multiplied by; int8 only.
        correction: int32 [panels, 64], -128 times the sum of a column's weights; int8 only.
        inputs: K.
        columns: N.
        input_scale: Quantisation step of the input; int8 only.
    """

    panels: NDArray[Any]
    scale: NDArray[np.float32] | None
    correction: NDArray[np.int32] | None
    inputs: int
    columns: int
    input_scale: float

    @property
    def struct(self) -> LinearStruct:
        """What is given to the library; valid as long as this object lives."""
        return LinearStruct(
            self.panels.ctypes.data,
            None if self.scale is None else self.scale.ctypes.data,
            None if self.correction is None else self.correction.ctypes.data,
            self.inputs,
            self.columns,
            self.input_scale,
            TYPE_NUMBER[self.panels.dtype.name],
        )


def pack_linear(
    kernels: NativeKernels,
    matrix: Matrix,
    *,
    by_output: bool = False,
    halves: bool = False,
    threads: int = 1,
) -> PackedLinear:
    """Pack a matrix.

    Args:
        kernels: The library.
        matrix: [K, N], or [N, K] with `by_output`; float32 or int8, memory-mapped or not.
        by_output: See there.
        halves: Whether the columns are gates and the numbers that they multiply: then every panel
            has 32 of each.
        threads: How many to use.

    Raises:
        KernelError: The matrix is of another dtype, or has more inputs than `MAX_INPUTS`.
        MemoryError: There is no memory for it.
    """
    values = matrix.values if isinstance(matrix, Int8Matrix) else matrix
    values = np.ascontiguousarray(values)
    int8 = isinstance(matrix, Int8Matrix)
    inputs, columns, shape = _panels(values, int8=int8, by_output=by_output, halves=halves)
    count = shape[0]
    panels = _aligned(shape, values.dtype)
    correction = np.zeros((count, PANEL_COLUMNS), np.int32) if int8 else None
    arguments = _PackStruct(
        values.ctypes.data,
        panels.ctypes.data,
        None if correction is None else correction.ctypes.data,
        inputs,
        columns,
        TYPE_NUMBER[values.dtype.name],
        by_output,
        halves,
    )
    kernels.run("c2t_pack", arguments, threads)
    # A model's weights must not lie in memory twice.
    give_back(matrix.values if isinstance(matrix, Int8Matrix) else matrix)
    scale = None
    if isinstance(matrix, Int8Matrix):
        # As ONNX Runtime multiplies them.
        both = np.array(matrix.input_scale, np.float32) * matrix.scales
        scale = _by_panel(both, count, halves=halves)
    return PackedLinear(
        panels=panels,
        scale=scale,
        correction=correction,
        inputs=inputs,
        columns=columns,
        input_scale=matrix.input_scale if isinstance(matrix, Int8Matrix) else 1.0,
    )


def stored_linear(
    stored: StoredArrays, matrix: Matrix, *, by_output: bool = False, halves: bool = False
) -> PackedLinear:
    """What `pack_linear` gives for a matrix, from what was stored of it.

    Args:
        stored: Has the linear's arrays next.
        matrix: Of the right shapes and dtypes; its numbers are not looked at.
        by_output: See `pack_linear`.
        halves: See there.

    Raises:
        KernelError: What is stored is another one's; or see `pack_linear`.
    """
    int8 = isinstance(matrix, Int8Matrix)
    values = matrix.values if isinstance(matrix, Int8Matrix) else matrix
    inputs, columns, shape = _panels(values, int8=int8, by_output=by_output, halves=halves)
    of_columns = (shape[0], PANEL_COLUMNS)
    return PackedLinear(
        panels=stored.array(values.dtype, shape),
        scale=stored.array(np.float32, of_columns) if int8 else None,
        correction=stored.array(np.int32, of_columns) if int8 else None,
        inputs=inputs,
        columns=columns,
        input_scale=stored.input_scale() if int8 else 1.0,
    )


def _panels(
    values: NDArray[Any], *, int8: bool, by_output: bool, halves: bool
) -> tuple[int, int, tuple[int, ...]]:
    """Inputs and columns of a matrix, and the shape of its panels.

    Raises:
        KernelError: See `pack_linear`.
    """
    inputs, columns = values.shape[::-1] if by_output else values.shape
    if values.dtype not in (np.float32, np.int8) or inputs > MAX_INPUTS:
        problem = f"a matrix of {values.dtype} with {inputs} inputs"
        raise KernelError(problem, hint=f"the kernels take float32 or int8, {MAX_INPUTS} inputs")
    half = PANEL_COLUMNS // 2
    count = -(-(columns // 2) // half) if halves else -(-columns // PANEL_COLUMNS)
    inner = (-(-inputs // 4), PANEL_COLUMNS, 4) if int8 else (inputs, PANEL_COLUMNS)
    return inputs, columns, (count, *inner)


def packed_identity(size: int) -> PackedLinear:
    """A linear that gives its float32 input as it is; most of it takes no memory.

    Args:
        size: Inputs and columns.
    """
    shape = (-(-size // PANEL_COLUMNS), size, PANEL_COLUMNS)
    panels = np.frombuffer(empty_pages(4 * math.prod(shape)), np.float32).reshape(shape)
    places = np.arange(size)
    panels[places // PANEL_COLUMNS, places, places % PANEL_COLUMNS] = 1
    return PackedLinear(
        panels=panels, scale=None, correction=None, inputs=size, columns=size, input_scale=1.0
    )


def _by_panel(values: NDArray[Any], count: int, *, halves: bool) -> NDArray[np.float32]:
    """Numbers of columns [N] in the order of their panels [count, 64], zeros behind."""
    parts = np.split(values, 2) if halves else [values]
    width = PANEL_COLUMNS // len(parts)
    padded = [np.pad(part, (0, count * width - len(part))) for part in parts]
    joined = np.concatenate([part.reshape(count, width) for part in padded], axis=1)
    return np.ascontiguousarray(joined, dtype=np.float32)


class PackedWeights:
    """What a packed model's structure points at, kept as long as this object.

    Args:
        kernels: The library.
        threads: How many pack; None: one per core that this process may use.
        stored: What was packed before; of the model's own weights only shapes and dtypes are then
            looked at.
    """

    def __init__(
        self, kernels: NativeKernels, threads: int | None, stored: StoredArrays | None = None
    ) -> None:
        self.kernels = kernels
        self._threads = thread_count(threads)
        self._stored = stored
        self._kept: list[Any] = []

    def keep(self, array: NDArray[Any]) -> int:
        """The address of an array in float32."""
        if self._stored is not None:
            kept = self._stored.array(np.float32, array.shape)
        else:
            kept = np.require(array, np.float32, ["C", "ALIGNED"])  # a file may have it anywhere
        self._kept.append(kept)
        return int(kept.ctypes.data)

    def pack(
        self, matrix: Matrix, *, by_output: bool = False, halves: bool = False
    ) -> PackedLinear:
        """See `pack_linear`."""
        if self._stored is not None:
            packed = stored_linear(self._stored, matrix, by_output=by_output, halves=halves)
        else:
            packed = pack_linear(
                self.kernels, matrix, by_output=by_output, halves=halves, threads=self._threads
            )
        self._kept.append(packed)
        return packed

    def pack_biased(
        self, matrix: Matrix, bias: NDArray[np.float32] | None, *, halves: bool = False
    ) -> BiasedStruct:
        """A matrix [K, N] and its bias [N]; see `pack_linear`."""
        packed = self.pack(matrix, halves=halves)
        if bias is None:
            return BiasedStruct(packed.struct, None)
        if self._stored is None:
            bias = _by_panel(bias, len(packed.panels), halves=halves)
        else:
            bias = np.broadcast_to(bias[:1], (len(packed.panels), PANEL_COLUMNS))
        return BiasedStruct(packed.struct, self.keep(bias))

    def arrays(self) -> Iterator[NDArray[Any]]:
        """All that was packed, in the order in which `StoredArrays` has it."""
        for kept in self._kept:
            if isinstance(kept, PackedLinear):
                yield from (
                    part for part in (kept.panels, kept.scale, kept.correction) if part is not None
                )
            elif isinstance(kept, np.ndarray):
                yield kept

    def input_scales(self) -> list[float]:
        """Of the linears in int8, in their order."""
        linears = [kept for kept in self._kept if isinstance(kept, PackedLinear)]
        return [linear.input_scale for linear in linears if linear.scale is not None]

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights."""
        return sum(kept.panels.nbytes for kept in self._kept if isinstance(kept, PackedLinear))


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array that begins at a cache line, so that no load needs two of them."""
    size = math.prod(shape) * dtype.itemsize
    if size >= MAPPED_BYTES:
        pages = empty_pages(size, huge=True)
        return np.frombuffer(pages, dtype, math.prod(shape)).reshape(shape)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
