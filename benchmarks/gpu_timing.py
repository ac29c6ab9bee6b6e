"""Times on a GPU by events on the device's stream, and the speed of its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray

COPY_BYTES = 1 << 30
REPEATS, WARM_UP = 60, 8


def device_seconds(device: CudaDevice, run: Callable[[], Any]) -> float:
    """Median seconds of what `run` starts on the device's stream, after a warm-up."""
    from cuda.bindings import driver

    begin, end = driver.cuEventCreate(0)[1], driver.cuEventCreate(0)[1]
    times = []
    for repeat in range(REPEATS + WARM_UP):
        driver.cuEventRecord(begin, device.handle)
        run()
        driver.cuEventRecord(end, device.handle)
        driver.cuEventSynchronize(end)
        if repeat >= WARM_UP:
            times.append(driver.cuEventElapsedTime(begin, end)[1] / 1e3)
    return float(np.median(times))


def copy_bandwidth(device: CudaDevice) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    from cuda.bindings import driver

    source, target = (DeviceArray.zeros((COPY_BYTES,), np.uint8) for _ in range(2))
    seconds = device_seconds(
        device,
        lambda: driver.cuMemcpyDtoDAsync(target.pointer, source.pointer, COPY_BYTES, device.handle),
    )
    return 2 * COPY_BYTES / seconds
