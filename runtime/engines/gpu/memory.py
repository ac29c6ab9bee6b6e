"""Buffers of a GPU's decoder and encoder that are as large as the largest use of them so far."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.cuda.memory import DeviceArray, PinnedBytes
from c2t.runtime.engines.buffers import HostBuffer


class DeviceBuffer:
    """Memory of the GPU that grows; its contents are arbitrary.

    Args:
        what: What it is for, as an error names it.

    Attributes:
        moves: How often its address has changed.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._memory = DeviceArray(0, (0,), np.dtype(np.uint8))
        self.moves = 0

    def address(self, size: int) -> int:
        """Address of at least `size` bytes.

        Raises:
            DeviceMemoryError: The GPU's memory is full.
        """
        if size > self._memory.nbytes:
            self.moves += 1  # even if the allocation fails: the old memory is freed before it
            self._memory = DeviceArray(0, (0,), np.dtype(np.uint8))
            self._memory = DeviceArray.allocate((size,), np.uint8, what=self._what)
        return self._memory.pointer


class PinnedBuffer(HostBuffer):
    """Page-locked memory of the host that grows: copies from and to the GPU reach it directly."""

    def _allocate(self, size: int) -> NDArray[np.uint8]:
        self._owner: Any = PinnedBytes(size)
        array: NDArray[np.uint8] = self._owner.array
        return array
