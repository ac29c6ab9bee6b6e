"""A CUDA device whose kernels are the CUDA sources, compiled for the host.

`cuda_emulation.h` says what the emulation shows, and what it does not.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from fakes.cuda_driver import STREAM, FakeDevice

from c2t.kernels.cuda.compile import SOURCES, source_path

EMULATION = Path(__file__).parent / "cuda_emulation.cpp"
C_TYPES = {np.int32: ctypes.c_int32, np.int64: ctypes.c_int64, np.float32: ctypes.c_float}


@cache
def folder() -> Path:
    """Where the libraries of this process lie."""
    return Path(mkdtemp(prefix="c2t-emulation-"))


@cache
def emulated(source: str, kernel: str, defines: tuple[tuple[str, int], ...]) -> Any:
    """The emulated kernel as a C function; compiled once for all tests."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")
    library = folder() / f"{source}{len(list(folder().iterdir()))}.so"
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-fno-gnu-unique"]
    command += ["-march=native"]  # float16 in hardware
    command += [f"-I{SOURCES}", f'-DC2T_SOURCE="{source_path(source)}"', f"-DC2T_KERNEL={kernel}"]
    command += [f"-D{name}={value}" for name, value in defines]
    command += ["-o", str(library), str(EMULATION)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    function = ctypes.CDLL(str(library)).emulate
    function.restype = ctypes.c_char_p
    return function


class EmulatedDevice(FakeDevice):
    """A device that runs the kernels' own code on the host.

    Args:
        multiprocessors: Blocks of a cooperative launch.
        shared_bytes: The most shared memory of a block.
    """

    arch = "sm_80"

    def __init__(self, *, multiprocessors: int = 2, shared_bytes: int = 100_000) -> None:
        self.multiprocessors, self.shared_bytes = multiprocessors, shared_bytes
        self.backwards = False  # the last block runs first

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int],
        arguments: tuple[Any, ...],
        **defines: int,
    ) -> None:
        """Run a kernel, one block after another."""
        self._run(source, kernel, (*grid, 0, False), arguments, defines)

    def launch_cooperative(
        self,
        source: str,
        kernel: str,
        threads: int,
        shared_bytes: int,
        arguments: tuple[Any, ...],
        **defines: int,
    ) -> None:
        """Run a kernel, all blocks together."""
        assert shared_bytes <= self.shared_bytes
        grid = (self.multiprocessors, threads, shared_bytes, True)
        self._run(source, kernel, grid, arguments, defines)

    def _run(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, ...],
        arguments: tuple[Any, ...],
        defines: dict[str, int],
    ) -> None:
        values = [
            C_TYPES[type(a)](a) if type(a) in C_TYPES else ctypes.c_void_p(a) for a in arguments
        ]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        function = emulated(source, kernel, tuple(sorted(defines.items())))
        problem = function(
            *(ctypes.c_uint(n) for n in grid), ctypes.c_int(self.backwards), addresses
        )
        assert problem is None, problem


class EmulatedSteps(EmulatedDevice):
    """A device whose step kernel is emulated, and whose other kernels are their definitions."""

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int],
        arguments: tuple[Any, ...],
        **defines: int,
    ) -> None:
        """Pack weights by the kernel itself."""
        device = EmulatedDevice if source == "pack_weights" else FakeDevice
        device.launch(self, source, kernel, grid, arguments, **defines)

    def launch_cooperative(self, *arguments: Any, **defines: int) -> None:
        """Run a kernel on the stream, which may record it."""
        STREAM.start(lambda: super(EmulatedSteps, self).launch_cooperative(*arguments, **defines))
