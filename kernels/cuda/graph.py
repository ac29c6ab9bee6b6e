"""A CUDA graph: work on a device's stream that is recorded once and then started as one."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.library import checked

# One recording at a time: of two, the first to end would switch garbage collection on again.
_RECORDING = threading.Lock()


class RecordedWork:
    """What a function starts on a device's stream, recorded to be started again as one.

    Addresses are recorded, contents are not: copies read what is there when they run.

    Args:
        start: Starts copies and kernels. All must have run before, because a recording fails if
            code is loaded, memory allocated or the stream waited for.

    Raises:
        KernelError: The driver cannot record it.
    """

    def __init__(self, device: CudaDevice, start: Callable[[], None]) -> None:
        from cuda.bindings import driver

        self._stream = device.handle
        with _RECORDING, _no_collection():
            graph = _record(self._stream, start)
        try:
            self._graph = checked(driver.cuGraphInstantiate(graph, 0))
        finally:
            driver.cuGraphDestroy(graph)
        self._release = weakref.finalize(self, driver.cuGraphExecDestroy, self._graph)
        self._release.atexit = False  # the driver may have been shut down by then

    def start(self) -> None:
        """Start the work on the stream; does not wait."""
        from cuda.bindings import driver

        checked(driver.cuGraphLaunch(self._graph, self._stream))

    def close(self) -> None:
        """Destroy the CUDA graph; closing again does nothing."""
        self._release()


def _record(stream: int, start: Callable[[], None]) -> Any:
    """The driver's graph of what a function starts; the caller destroys it."""
    from cuda.bindings import driver

    # Thread-local: another thread may allocate meanwhile. What it starts on the default stream may
    # still invalidate the recording; the driver then reports an error, here or there.
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    checked(driver.cuStreamBeginCapture(stream, mode))
    try:
        start()
    except BaseException:  # without the end below the stream would record for ever
        error, graph = driver.cuStreamEndCapture(stream)
        if not int(error):
            driver.cuGraphDestroy(graph)
        raise
    return checked(driver.cuStreamEndCapture(stream))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Switch garbage collection off: memory that it frees would invalidate a recording."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
