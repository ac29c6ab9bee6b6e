"""Work on a device's stream, recorded once and started as one: a CUDA graph."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.library import checked

_RECORDING = threading.Lock()  # one at a time: of two, the first to end would let garbage be freed


class RecordedWork:
    """What a function starts on a device's stream, to be started again at once.

    Addresses are recorded, contents are not: copies read what lies there when they run.

    Args:
        device: The device.
        start: Starts copies and kernels, all of which have run before: nothing of them is loaded,
            allocated or waited for.

    Raises:
        KernelError: Something of it cannot be recorded.
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
        """Start it on the stream; does not wait."""
        from cuda.bindings import driver

        checked(driver.cuGraphLaunch(self._graph, self._stream))

    def close(self) -> None:
        """Give it up."""
        self._release()


def _record(stream: int, start: Callable[[], None]) -> Any:
    """The driver's graph of what a function starts; it is the caller's to destroy."""
    from cuda.bindings import driver

    # Of this thread's calls only: another thread may allocate meanwhile. (What it starts on the
    # default stream may still spoil the recording: then that is an error, here or there.)
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    checked(driver.cuStreamBeginCapture(stream, mode))
    try:
        start()
    except BaseException:  # else the stream would record for ever
        error, graph = driver.cuStreamEndCapture(stream)
        if not int(error):
            driver.cuGraphDestroy(graph)
        raise
    return checked(driver.cuStreamEndCapture(stream))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage: memory that it freed would spoil what is recorded."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
