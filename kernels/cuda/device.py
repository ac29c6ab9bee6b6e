"""One CUDA device and its one stream: kernels are compiled for it and started here.

One decision: everything of a process that uses the device runs on this stream, kernels, copies and
the graphs of whichever library, so that order is kept without waiting.
"""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

import numpy as np

from c2t.kernels.cuda.compile import load_cubin
from c2t.kernels.cuda.memory import checked
from c2t.kernels.errors import KernelError

_C_TYPES: dict[type, Any] = {
    int: ctypes.c_void_p,
    np.int32: ctypes.c_int32,
    np.int64: ctypes.c_int64,
    np.float32: ctypes.c_float,
}


class CudaDevice:
    """A device, made current, with its stream.

    Args:
        device: Number of the device.

    Attributes:
        number: That number.
        arch: Such as "sm_90".
        name: What NVIDIA calls it.

    Raises:
        KernelError: There is no such device, or the `[gpu]` extra is not installed.
    """

    def __init__(self, device: int = 0) -> None:
        try:
            from cuda.bindings import driver
            from cuda.core import Device, StreamOptions

            self._device = Device(device)
            self._device.set_current()
            # A blocking stream: its kernels wait for the copies, which are on the default stream.
            self._stream = self._device.create_stream(options=StreamOptions(nonblocking=False))
            version = driver.cuDriverGetVersion()[1]
        except Exception as error:  # ImportError, or one of several classes of cuda-core
            problem = f"CUDA device {device} cannot be used: {error}"
            raise KernelError(
                problem, hint="is c2t[gpu] installed, and an NVIDIA driver?"
            ) from error
        self.number = device
        self.name = str(self._device.name)
        self.arch = f"sm_{self._device.arch}"
        self._driver = str(version)
        self._kernels: dict[tuple[Any, ...], Any] = {}

    @property
    def stream(self) -> Any:
        """The stream that all kernels run on (a `cuda.core.Stream`)."""
        return self._stream

    @property
    def handle(self) -> int:
        """The stream as other libraries take it: its address."""
        return int(self._stream.handle)

    def synchronize(self) -> None:
        """Wait for all that was started.

        Raises:
            KernelError: Something of it failed.
        """
        try:
            self._stream.sync()
        except Exception as error:  # cuda-core has no public class for this
            problem = f"the GPU failed: {error}"
            raise KernelError(problem, hint="run `c2t doctor`") from error

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int],
        arguments: tuple[Any, ...],
        **defines: int,
    ) -> None:
        """Start a kernel; does not wait for it.

        Args:
            source: The file, see `c2t.kernels.cuda.compile`.
            kernel: Name of the function in it.
            grid: Blocks, and threads of a block; nothing is started for 0 blocks.
            arguments: Addresses as integers, numbers as NumPy scalars.
            defines: Macros.
        """
        from cuda.core import LaunchConfig, ObjectCode, launch

        blocks, threads = grid
        if not blocks:
            return
        key = (source, *sorted(defines.items()))
        if key not in self._kernels:
            code = load_cubin(source, defines, self.arch, driver=self._driver)
            self._kernels[key] = ObjectCode.from_cubin(code).get_kernel(kernel)
        config = LaunchConfig(grid=blocks, block=threads)
        launch(self._stream, config, self._kernels[key], *arguments)

    def launch_cooperative(
        self,
        source: str,
        kernel: str,
        threads: int,
        shared_bytes: int,
        arguments: tuple[Any, ...],
        **defines: int,
    ) -> None:
        """Start a kernel with one block on each multiprocessor, all at once; does not wait for it.

        Args:
            source: The file, see `c2t.kernels.cuda.compile`.
            kernel: Name of the function in it.
            threads: Threads of a block.
            shared_bytes: Dynamic shared memory of a block.
            arguments: Addresses as integers, numbers as NumPy scalars.
            defines: Macros.

        Raises:
            KernelError: The blocks do not fit there all at once, or do not start.
        """
        from cuda.bindings import driver
        from cuda.core import ObjectCode

        key = (source, *sorted(defines.items()))
        if key not in self._kernels:
            cubin = load_cubin(source, defines, self.arch, driver=self._driver)
            code = ObjectCode.from_cubin(cubin)
            function = checked(driver.cuKernelGetFunction(int(code.get_kernel(kernel).handle)))
            wanted = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            checked(driver.cuFuncSetAttribute(function, wanted, shared_bytes))
            self._kernels[key] = (function, code)  # the code is unloaded with its object
        types = [_C_TYPES[type(value)] for value in arguments]
        values = [value if isinstance(value, int) else value.item() for value in arguments]
        checked(
            driver.cuLaunchCooperativeKernel(
                self._kernels[key][0],
                *(self.multiprocessors, 1, 1),
                *(threads, 1, 1),
                shared_bytes,
                self.handle,
                (tuple(values), tuple(types)),
            )
        )

    @cached_property
    def multiprocessors(self) -> int:
        """How many there are."""
        return self._attribute("MULTIPROCESSOR_COUNT")

    @cached_property
    def shared_bytes(self) -> int:
        """Most shared memory that a block can have."""
        return self._attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")

    def _attribute(self, name: str) -> int:
        from cuda.bindings import driver

        wanted = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(checked(driver.cuDeviceGetAttribute(wanted, self.number)))
