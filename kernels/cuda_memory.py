"""Arrays in GPU memory, by the driver's own interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """Memory of the current device, freed with this object.

    Args:
        pointer: Address on the device; 0 for an array without elements.
        shape: Shape.
        dtype: Dtype of the elements.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def allocate(cls, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Memory with arbitrary contents."""
        from cuda.bindings import driver

        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pointer = int(_checked(driver.cuMemAlloc(size))) if size else 0
        return cls(pointer, shape, np.dtype(dtype))

    @classmethod
    def upload(cls, array: NDArray[Any]) -> DeviceArray:
        """A copy of an array of the host."""
        from cuda.bindings import driver

        array = np.ascontiguousarray(array)
        device = cls.allocate(array.shape, array.dtype)
        if array.nbytes:
            _checked(driver.cuMemcpyHtoD(device.pointer, array.ctypes.data, array.nbytes))
        return device

    def download(self) -> NDArray[Any]:
        """A copy on the host, after the kernels that were started before."""
        from cuda.bindings import driver

        array = np.empty(self.shape, self.dtype)
        if array.nbytes:
            _checked(driver.cuMemcpyDtoH(array.ctypes.data, self.pointer, array.nbytes))
        return array

    def __del__(self) -> None:
        if not self.pointer:
            return
        from cuda.bindings import driver

        driver.cuMemFree(self.pointer)  # an error here has no one to go to


def _checked(result: tuple[Any, ...]) -> Any:
    """The value of a driver call (error, value ...)."""
    error, *values = result
    if int(error):
        problem = f"the GPU driver reports {error}"
        raise KernelError(problem, hint="is the GPU's memory full? use a smaller chunk of cells")
    return values[0] if values else None
