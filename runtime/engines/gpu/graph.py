"""What the engines on a GPU need from the library that runs a graph.

One decision: a library is given addresses on the device and one stream, never an array of the host.
So ONNX Runtime and TensorRT differ in two small classes, and the step around them is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from c2t.kernels.cuda.memory import DeviceMemoryError
from c2t.runtime.system.errors import C2TError, EngineError, first_line

# What the texts of the libraries' errors contain when the GPU's memory is full.
FULL = ("out of memory", "failed to allocate", "alloc_failed", "allocation failed", "outofmemory")
FULL_HINT = "lower `--batch-size` or `--max-new-tokens`, or close what else uses the GPU"


@dataclass(frozen=True)
class DeviceTensor:
    """A tensor on the device.

    Args:
        address: Of its first byte.
        dtype: A key of `c2t.runtime.system.tensor_files.STORAGE`.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str


class BoundGraph(Protocol):
    """A graph with addresses for all inputs and outputs."""

    @property
    def recordable(self) -> bool:
        """Whether a run may become part of the CUDA graph of a whole step, after its first run."""
        ...

    @property
    def last_logit_rows(self) -> bool:
        """Whether `logit_rows` must be the last R of each batch row's T tokens."""
        ...

    def enqueue(self) -> None:
        """Start a run on the device's stream; does not wait.

        Raises:
            EngineError: The library cannot start it.
        """
        ...

    def close(self) -> None:
        """Free what was kept for it; it is not run again."""
        ...


class DeviceGraph(Protocol):
    """An opened graph."""

    @property
    def dtypes(self) -> Mapping[str, str]:
        """Dtypes of all inputs and outputs, by name."""
        ...

    @property
    def cache_capacity(self) -> int | None:
        """Cache positions that the decoder's caches must have; None: any number."""
        ...

    @property
    def max_bit_exact_rows(self) -> int | None:
        """See `c2t.runtime.engine_protocol.DecoderEngine.max_bit_exact_rows`."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Most tokens of a run over several cells' prompts or genes; 0 where plans decide it."""
        ...

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> BoundGraph:
        """Give addresses to all inputs and outputs.

        Args:
            tensors: By name; an output may have the address of an input.
            repeated: Whether it will be run often, so that a CUDA graph of it pays.

        Raises:
            EngineError: The graph does not take these shapes.
        """
        ...


def engine_error(error: Exception, doing: str) -> EngineError:
    """A library's error as one that says what was being done.

    Args:
        error: The library's, the driver's or a kernel's.
        doing: Such as "decoder failed on 8 x 17 tokens".
    """
    text = error.problem if isinstance(error, C2TError) else first_line(error)
    problem = f"{doing}: {text}"
    full = isinstance(error, DeviceMemoryError) or any(word in text.lower() for word in FULL)
    return EngineError(problem, hint=FULL_HINT if full else "run `c2t doctor`")
