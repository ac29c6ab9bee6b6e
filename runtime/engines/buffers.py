"""Memory that is as large as the largest use of it so far, and the steps that are bound to it.

One decision: all steps of a decoder share such memory. Logits of several drafted tokens of several
cells are 100 MB at Llama's vocabulary: they must not exist once for each shape of a step. A buffer
that grows moves, so a step that was bound before is bound again (`BoundSteps`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.mapped import empty_pages

# Of memory that is pages of its own, which are the system's again when nobody needs them.
MAPPED_BYTES = 1 << 18
# Enough for all draft lengths times the row ranges of a batch, and for some lengths of prompts.
KEPT_STEPS = 128


class HostBuffer:
    """Memory of the host that grows, zeros at first.

    Attributes:
        moves: How often its address has changed.
    """

    def __init__(self) -> None:
        self.moves = 0
        self._memory = self._allocate(0)

    def view(self, shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
        """An array at the beginning of the memory."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > self._memory.nbytes:
            self._memory = self._allocate(size)
            self.moves += 1
        array: NDArray[Any] = self._memory[:size].view(dtype).reshape(shape)
        return array

    @property
    def pointer(self) -> int:
        """Address of the memory."""
        return int(self._memory.ctypes.data)

    def _allocate(self, size: int) -> NDArray[np.uint8]:
        if size < MAPPED_BYTES:
            return np.zeros(size, dtype=np.uint8)
        return np.frombuffer(empty_pages(size), np.uint8)


class KeptStep(Protocol):
    """What `BoundSteps` needs of a step."""

    def is_current(self) -> bool:
        """Whether the buffers still lie where the step was bound to."""
        ...

    def close(self) -> None:
        """Free what is held for the step; it is not run again."""
        ...


Step = TypeVar("Step", bound=KeptStep)
# First batch row, the one after the last, tokens and logit rows of each.
StepShape = tuple[int, int, int, int]


class BoundSteps:
    """The steps that a decoder bound to a cache, by shape; the least recently used one goes first.

    Args:
        most: Steps that are kept.
    """

    def __init__(self, most: int = KEPT_STEPS) -> None:
        self._most = most
        self._steps: OrderedDict[StepShape, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._steps)

    def get(self, shape: StepShape, bind: Callable[[], Step]) -> Step:
        """The step of a shape, bound by `bind` if none is kept or its buffers have moved."""
        step: Step | None = self._steps.pop(shape, None)
        if step is not None and not step.is_current():
            step.close()
            step = None
        if step is None:
            step = bind()
        self._steps[shape] = step
        if len(self._steps) > self._most:
            self._steps.popitem(last=False)[1].close()
        return step

    def clear(self) -> None:
        """Give up all steps."""
        while self._steps:
            self._steps.popitem()[1].close()
