"""One CUDA device and its one stream: kernels are compiled for it and started here.

One decision: everything of a process that uses the device runs on this stream: kernels, copies and
the graphs of whichever library. So each starts after what was started before it, without waiting on
the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import RLock
from typing import Any

from c2t.kernels.cuda.compile import load_cubin
from c2t.kernels.cuda.library import LibraryErrors, checked


class CudaDevice:
    """A device, made current, with its stream.

    Args:
        device: Number of the device.

    Attributes:
        number: That number.
        arch: Such as "sm_90".
        name: As NVIDIA calls it.

    Raises:
        KernelError: There is no such device, or the `[gpu]` extra is not installed.
    """

    def __init__(self, device: int = 0) -> None:
        hint = "is c2t[gpu] installed, and an NVIDIA driver?"
        with LibraryErrors(f"CUDA device {device} cannot be used", hint=hint):
            from cuda.core import Device, StreamOptions

            self._device = Device(device)
            self._device.set_current()
            # A blocking stream: its kernels wait for copies, which use the default stream.
            self._stream = self._device.create_stream(options=StreamOptions(nonblocking=False))
        self._lock = RLock()
        self.number = device
        self.name = str(self._device.name)
        self.arch = f"sm_{self._device.arch}"
        self._kernels: dict[tuple[Any, ...], Any] = {}

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep the device for this thread, and make it the thread's current one.

        All threads share the stream, and what is started while another thread records a CUDA graph
        would become a part of it.
        """
        with self._lock:
            with LibraryErrors("the GPU cannot be used", hint="run `c2t doctor`"):
                self._device.set_current()
            yield

    @property
    def stream(self) -> Any:
        """The stream that all kernels run on (a `cuda.core.Stream`)."""
        return self._stream

    @property
    def handle(self) -> int:
        """The stream's address, as other libraries take it."""
        return int(self._stream.handle)

    def synchronize(self) -> None:
        """Wait until everything that was started has ended.

        Raises:
            KernelError: Some of it failed.
        """
        with LibraryErrors("the GPU failed", hint="run `c2t doctor`"):
            self._stream.sync()

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
            source: See `c2t.kernels.cuda.compile`.
            kernel: Name of the function in it.
            grid: Blocks, and threads of a block; nothing is started for 0 blocks.
            arguments: Addresses as integers, numbers as NumPy scalars.
            defines: Macros.

        Raises:
            KernelError: The source does not compile, or the kernel does not start.
        """
        blocks, threads = grid
        if blocks:
            settings = {"grid": blocks, "block": threads}
            self._launch(source, kernel, settings, arguments, defines)

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
            source: See `c2t.kernels.cuda.compile`.
            kernel: Name of the function in it.
            threads: Threads of a block.
            shared_bytes: Dynamic shared memory of a block.
            arguments: Addresses as integers, numbers as NumPy scalars.
            defines: Macros.

        Raises:
            KernelError: The source does not compile, or the blocks do not fit or do not start.
        """
        settings = {
            "grid": self.multiprocessors,
            "block": threads,
            "shmem_size": shared_bytes,
            "is_cooperative": True,
        }
        self._launch(source, kernel, settings, arguments, defines)

    def _launch(
        self,
        source: str,
        kernel: str,
        settings: dict[str, Any],
        arguments: tuple[Any, ...],
        defines: dict[str, int],
    ) -> None:
        """Start a kernel, which is loaded first if needed; `settings` are of a `LaunchConfig`."""
        key = (source, *sorted(defines.items()))
        with LibraryErrors(f"the kernel {kernel} does not start", hint="run `c2t doctor`"):
            from cuda.core import LaunchConfig, launch

            if key not in self._kernels:
                self._kernels[key] = self._load(source, kernel, settings, defines)
            launch(self._stream, LaunchConfig(**settings), self._kernels[key], *arguments)

    def _load(
        self, source: str, kernel: str, settings: dict[str, Any], defines: dict[str, int]
    ) -> Any:
        from cuda.bindings import driver
        from cuda.core import ObjectCode

        loaded = ObjectCode.from_cubin(load_cubin(source, defines, self.arch)).get_kernel(kernel)
        if shared_bytes := settings.get("shmem_size", 0):
            # More than 48 KiB must be asked for. cuda.core only reads this attribute (1.2).
            attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            checked(
                driver.cuKernelSetAttribute(attribute, shared_bytes, loaded.handle, self.number)
            )
        return loaded

    @cached_property
    def multiprocessors(self) -> int:
        """How many there are."""
        return int(self._device.properties.multiprocessor_count)

    @cached_property
    def shared_bytes(self) -> int:
        """The most shared memory that a block can have."""
        return int(self._device.properties.max_shared_memory_per_block_optin)
