"""Arrays in GPU memory, page-locked memory of the host, and copies between them."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.cuda.library import checked
from c2t.kernels.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


class DeviceMemoryError(KernelError):
    """The GPU's memory is full."""


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """Memory of the current device, freed with this object.

    Args:
        pointer: Address on the device; 0 for an array without elements.
        shape: Row-major.
        dtype: As NumPy names it; uint16 for bfloat16.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        if self.pointer:
            from cuda.bindings import driver

            _free_with(self, driver.cuMemFree, self.pointer)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def allocate(cls, shape: tuple[int, ...], dtype: Any, *, what: str = "an array") -> DeviceArray:
        """Memory with arbitrary contents.

        Args:
            shape: Row-major.
            dtype: As NumPy names it.
            what: What the memory is for; an error says it.

        Raises:
            DeviceMemoryError: The GPU's memory is full.
        """
        from cuda.bindings import driver

        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not size:
            return cls(0, shape, np.dtype(dtype))
        error, pointer = driver.cuMemAlloc(size)
        if int(error) == OUT_OF_MEMORY:
            raise _full(size, what)
        return cls(int(checked((error, pointer))), shape, np.dtype(dtype))

    @classmethod
    def zeros(cls, shape: tuple[int, ...], dtype: Any, *, what: str = "an array") -> DeviceArray:
        """Memory of zeros; see `allocate`."""
        from cuda.bindings import driver

        device = cls.allocate(shape, dtype, what=what)
        if device.nbytes:
            checked(driver.cuMemsetD8(device.pointer, 0, device.nbytes))
        return device

    @classmethod
    def upload(cls, array: NDArray[Any], *, what: str = "an array") -> DeviceArray:
        """A copy of an array of the host; see `allocate`."""
        from cuda.bindings import driver

        array = np.ascontiguousarray(array)
        device = cls.allocate(array.shape, array.dtype, what=what)
        if array.nbytes:
            checked(driver.cuMemcpyHtoD(device.pointer, array.ctypes.data, array.nbytes))
        return device

    def download(self) -> NDArray[Any]:
        """Copy it to the host, after everything that was started before."""
        return download(self.pointer, self.shape, self.dtype)


class PinnedBytes:
    """Page-locked memory of the host, freed with this object; copies from and to it do not wait.

    Args:
        size: Bytes; they begin as zeros.

    Attributes:
        array: [size] uint8; views of it must not outlive this object.
    """

    def __init__(self, size: int) -> None:
        from cuda.bindings import driver

        self._pointer = int(checked(driver.cuMemAllocHost(max(size, 1))))
        _free_with(self, driver.cuMemFreeHost, self._pointer)
        memory = (ctypes.c_uint8 * size).from_address(self._pointer)
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)
        self.array[:] = 0

    @property
    def pointer(self) -> int:
        """Address on the host."""
        return self._pointer


def download(address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Copy an array of the device to the host, after everything that was started before."""
    from cuda.bindings import driver

    array = np.empty(shape, dtype)
    if array.nbytes:
        checked(driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))
    return array


def free_memory() -> int:
    """Bytes of the current device that nobody uses now.

    Raises:
        KernelError: The driver does not say.
    """
    from cuda.bindings import driver

    return int(checked(driver.cuMemGetInfo()))


def copy_to_device(target: int, source: int, size: int, stream: int) -> None:
    """Copy `size` bytes of page-locked memory to the device; does not wait."""
    from cuda.bindings import driver

    if size:
        checked(driver.cuMemcpyHtoDAsync(target, source, size, stream))


def copy_to_host(target: int, source: int, size: int, stream: int) -> None:
    """Copy `size` bytes of the device to page-locked memory; does not wait."""
    from cuda.bindings import driver

    if size:
        checked(driver.cuMemcpyDtoHAsync(target, source, size, stream))


@dataclass(frozen=True)
class Blocks:
    """Blocks of rows on the device, all rows equally far apart.

    Args:
        address: Of the first byte.
        pitch: Bytes from one row to the next.
        rows: Rows from one block to the next.
    """

    address: int
    pitch: int
    rows: int


def copy_blocks(
    target: Blocks, source: Blocks, *, width: int, rows: int, blocks: int, stream: int
) -> None:
    """Copy `width` bytes of each of the first `rows` rows of each block; does not wait."""
    from cuda.bindings import driver

    if not width * rows * blocks:
        return
    copy = driver.CUDA_MEMCPY3D()
    copy.srcMemoryType = copy.dstMemoryType = driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
    copy.srcDevice, copy.srcPitch, copy.srcHeight = source.address, source.pitch, source.rows
    copy.dstDevice, copy.dstPitch, copy.dstHeight = target.address, target.pitch, target.rows
    copy.WidthInBytes, copy.Height, copy.Depth = width, rows, blocks
    checked(driver.cuMemcpy3DAsync(copy, stream))


def _free_with(owner: object, free: Callable[[int], Any], pointer: int) -> None:
    """Free memory when its owner goes; an error in that is not reported."""
    # Not when the interpreter ends: the driver may have been shut down by then.
    weakref.finalize(owner, free, pointer).atexit = False


def _full(size: int, what: str) -> DeviceMemoryError:
    from cuda.bindings import driver

    error, free, total = driver.cuMemGetInfo()
    left = "" if int(error) else f"; {free / 1e9:.2f} GB of its {total / 1e9:.1f} GB are free"
    problem = f"the GPU has no memory for {what}, {size / 1e9:.2f} GB{left}"
    return DeviceMemoryError(problem, hint="use smaller batches, or close what else uses the GPU")
