"""The engines by name: how each is checked and opened.

One decision: this is the only list of engines. It imports an engine when it is checked or opened,
so that the command line may read the names without loading a library.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from c2t.runtime.system.errors import EngineError

if TYPE_CHECKING:
    from c2t.runtime.bundle.bundle import Bundle
    from c2t.runtime.engine_protocol import EngineOptions, Engines
    from c2t.runtime.engines.check import EngineCheck
    from c2t.runtime.system.machine import Machine
    from c2t.runtime.system.timing import StageClock


class EngineName(enum.StrEnum):
    """What `--engine` takes: "auto" for the best that works, or one of `ENGINES`."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"
    rtx = "rtx"
    tensorrt_ep = "tensorrt-ep"


@dataclass(frozen=True)
class Engine:
    """One engine.

    Args:
        open: Opens the graphs of a bundle; raises EngineError.
        check: Says whether it would run on a machine.
    """

    open: Callable[[Bundle, EngineOptions, StageClock | None], Engines]
    check: Callable[[Machine], EngineCheck]


def _open_cpu(bundle: Bundle, options: EngineOptions, clock: StageClock | None) -> Engines:
    from c2t.runtime.engines.cpu.open import open_engines

    return open_engines(bundle, options, clock)


def _open_cuda(bundle: Bundle, options: EngineOptions, clock: StageClock | None) -> Engines:
    from c2t.runtime.engines.gpu.open import open_cuda_engines

    return open_cuda_engines(bundle, options, clock)


def _open_plans(
    target: str, bundle: Bundle, options: EngineOptions, clock: StageClock | None
) -> Engines:
    from c2t.runtime.engines.gpu.open import open_plan_engines
    from c2t.runtime.engines.tensorrt_library import Target

    return open_plan_engines(bundle, Target(target), options, clock)


def _open_tensorrt_provider(
    bundle: Bundle, options: EngineOptions, clock: StageClock | None
) -> Engines:
    from c2t.runtime.engines.built.folder import plan_cache
    from c2t.runtime.engines.gpu.open import open_onnxruntime_engines

    if bundle.trust is not None:
        problem = "ONNX Runtime's TensorRT provider keeps plans that cannot be signed"
        raise EngineError(problem, hint="choose another engine, or do without --trust")
    plans = plan_cache(bundle) / f"onnxruntime-{bundle.digest[:12]}"
    return open_onnxruntime_engines(bundle, options, clock, plans=plans)


def _check_onnxruntime(name: str, machine: Machine) -> EngineCheck:
    from c2t.runtime.engines.check import check_onnxruntime

    return check_onnxruntime(name, machine)


def _check_tensorrt(name: str, machine: Machine) -> EngineCheck:
    from c2t.runtime.engines.check import check_tensorrt

    return check_tensorrt(name, machine)


ENGINES = {
    "cpu": Engine(_open_cpu, partial(_check_onnxruntime, "cpu")),
    "cuda": Engine(_open_cuda, partial(_check_onnxruntime, "cuda")),
    "tensorrt": Engine(partial(_open_plans, "tensorrt"), partial(_check_tensorrt, "tensorrt")),
    "rtx": Engine(partial(_open_plans, "rtx"), partial(_check_tensorrt, "rtx")),
    "tensorrt-ep": Engine(_open_tensorrt_provider, partial(_check_onnxruntime, "tensorrt-ep")),
}
# What "auto" tries, the best first; then the CPU. Not ONNX Runtime's TensorRT provider: its first
# start takes minutes.
GPU_ORDER = ("tensorrt", "rtx", "cuda")
