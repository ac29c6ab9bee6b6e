"""What this machine is: processor, memory, NVIDIA GPUs.

The system itself is asked: /proc, the control group, Windows' own calls, and for the GPUs the
driver's library. No package has to be installed for it, and no program runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from c2t.kernels.native import core_count
from c2t.runtime.system.portable.memory import windows_memory

# Instruction sets that the kernels or ONNX Runtime use, by their names in cpuinfo.
FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
FEATURES_ARM = ("asimd", "asimdhp", "asimddp", "i8mm", "sve")

# These sum int8 products in 32 bits. Without them, sums of two products saturate at 16 bits.
WIDE_INT8_SUMS = frozenset({"avx512_vnni", "avx_vnni"})

CUDA_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU."""

    name: str
    compute_capability: str  # "9.0"
    memory_bytes: int

    @property
    def sm(self) -> str:
        """Its compute capability as compilers name it: "sm_90"."""
        return f"sm_{self.compute_capability.replace('.', '')}"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The facts.

    Attributes:
        system: Name, release and architecture.
        cpu: Model name.
        cores: Cores that this process may run on.
        cpu_features: Instruction sets out of `FEATURES` or `FEATURES_ARM`.
        memory_bytes: Memory that this process may use: the machine's, or what a container may.
        memory_available_bytes: Free memory now; None where the system does not say.
        gpus: NVIDIA GPUs, in the driver's order.
        cuda_driver: CUDA version that the driver supports ("13.0"); None without a driver.
        gpu_problem: Why there is no GPU to use, or "".
    """

    system: str
    cpu: str
    cores: int
    cpu_features: tuple[str, ...]
    memory_bytes: int
    memory_available_bytes: int | None
    gpus: tuple[Gpu, ...]
    cuda_driver: str | None
    gpu_problem: str


def look_at_machine(root: Path = Path("/")) -> Machine:
    """Collect the facts; takes milliseconds.

    Args:
        root: Where /proc and /sys are.
    """
    cpu, features = _cpu(root)
    total, available = _memory(root)
    gpus, driver, problem = _gpus()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu,
        cores=core_count(),
        cpu_features=features,
        memory_bytes=total,
        memory_available_bytes=available,
        gpus=gpus,
        cuda_driver=driver,
        gpu_problem=problem,
    )


@functools.cache
def has_wide_int8_sums() -> bool:
    """Whether this x86 processor has VNNI; False also where the system does not say."""
    return bool(WIDE_INT8_SUMS.intersection(_cpu(Path("/"))[1]))


def free_memory() -> int | None:
    """Bytes that this process could still use; None where the system does not say."""
    return _memory(Path("/"))[1]


def _cpu(root: Path) -> tuple[str, tuple[str, ...]]:
    name, flags = platform.processor() or platform.machine(), set[str]()
    with contextlib.suppress(OSError):  # Linux only
        for line in (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    return name, tuple(feature for feature in (*FEATURES, *FEATURES_ARM) if feature in flags)


def _memory(root: Path) -> tuple[int, int | None]:
    """Memory in bytes: all, and free now."""
    said: dict[str, int] = {}
    with contextlib.suppress(OSError):  # Linux only
        for line in (root / "proc/meminfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            said[key] = int(value.split()[0]) << 10
    total, available = said.get("MemTotal", 0), said.get("MemAvailable")
    if not total and (told := windows_memory()) is not None:
        total, available = told
    if not total and hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = root / "sys/fs/cgroup"
    limit, used = _group_number(group / "memory.max"), _group_number(group / "memory.current")
    if limit is not None and limit < total:  # a container's share
        total = limit
        if used is not None:
            available = min(available or limit, limit - used)
    return total, available


def _group_number(path: Path) -> int | None:
    """A number of this process's control group; None without a group or a limit."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _gpus() -> tuple[tuple[Gpu, ...], str | None, str]:
    """GPUs, the driver's CUDA version, and why there is no GPU, or ""."""
    try:
        driver = ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return (), None, f"no NVIDIA driver ({CUDA_DRIVER} is not found)"
    number = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    status = driver.cuInit(0)
    if status:
        return (), version, f"the NVIDIA driver finds no usable GPU (CUDA error {status})"
    driver.cuDeviceGetCount(ctypes.byref(number))
    gpus = tuple(_gpu(driver, index) for index in range(number.value))
    return gpus, version, "" if gpus else "the NVIDIA driver finds no GPU"


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory, name = ctypes.c_size_t(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major.value}.{minor.value}",
        memory_bytes=memory.value,
    )
