"""The only place that imports TensorRT: `tensorrt`, its lean runtime, or TensorRT for RTX.

One decision: a package counts when a symbol of it can be imported. A stray folder called `tensorrt`
on the path is importable too, but has no symbols.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
from dataclasses import dataclass
from typing import Any, Literal

from c2t.runtime.system.errors import EngineError, first_line


class Target(enum.StrEnum):
    """What a plan is built for."""

    tensorrt = "tensorrt"
    rtx = "rtx"


# The modules that run plans, the best first; the lean and the dispatch runtime cannot build.
MODULES = {
    Target.tensorrt: ("tensorrt", "tensorrt_lean", "tensorrt_dispatch"),
    Target.rtx: ("tensorrt_rtx",),
}
# Older versions have no layer for the operator of the KV cache.
LEAST_VERSION = (10, 15)
GPU_PREFIX = "sm_"


@dataclass(frozen=True, eq=False)
class TensorRT:
    """A loaded library.

    Args:
        target: What the plans that it runs are built for.
        module: The module; all of them have the same interface.
        name: The module's name.
    """

    target: Target
    module: Any
    name: str

    @property
    def version(self) -> str:
        """Such as "1.7.1.116"."""
        return str(self.module.__version__)

    @property
    def gpus(self) -> tuple[str, ...]:
        """GPUs that plans can be built for without having one, such as "sm_89"; may be empty.

        TensorRT for RTX runs on these only: its runtime refuses others as an "unsupported cc".
        """
        known = getattr(self.module, "ComputeCapability", None)
        names = [name[2:] for name in dir(known) if name.startswith("SM") and name[2:].isdigit()]
        return tuple(f"{GPU_PREFIX}{number}" for number in sorted(names, key=int))

    @property
    def builds(self) -> bool:
        """Whether it can build plans, not only run them."""
        return hasattr(self.module, "Builder")

    @property
    def is_lean(self) -> bool:
        """Whether it runs version-compatible plans only."""
        return self.name != MODULES[self.target][0]


def load_tensorrt(target: Target, *, build: bool = False) -> TensorRT:
    """The best library of a target that is installed here.

    Args:
        build: It must be able to build.

    Raises:
        EngineError: None is installed, it does not load, or it cannot do what is asked.
    """
    reasons = []
    for name in MODULES[target]:
        try:
            module = importlib.import_module(name)
            module.Runtime  # noqa: B018 - a namespace package has none
        except (ImportError, AttributeError, OSError) as error:
            reasons.append(f"{name}: {first_line(error)}")
            continue
        library = TensorRT(target, module, name)
        if build:
            _check_builds(library)
        return library
    problem = f"TensorRT cannot be loaded ({'; '.join(reasons)})"
    raise EngineError(problem, hint=f'pip install "c2t[{target}]"')


def start(library: TensorRT, kind: Literal["Runtime", "Builder"], log: Any) -> Any:
    """TensorRT's runtime or builder, which needs a driver and some memory.

    Args:
        library: TensorRT.
        kind: Name of the class.
        log: Of `message_log`.

    Raises:
        EngineError: It does not start.
    """
    made = None
    with contextlib.suppress(TypeError):  # pybind11's error where the library gives a null pointer
        made = getattr(library.module, kind)(log)
    if made is None:
        said = f": {log.errors[-1].strip()}" if log.errors else ""
        problem = f"the {kind.lower()} of {library.name} {library.version} does not start{said}"
        raise EngineError(problem, hint="run `c2t doctor`; is there memory enough?")
    return made


def message_log(library: TensorRT) -> Any:
    """A logger for TensorRT that keeps the texts of errors in `errors` and prints nothing.

    Its `failed` is the first exception of keeping them: none may pass through TensorRT.
    """

    class Log(library.module.ILogger):  # type: ignore[name-defined, misc]  # known at run time
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.failed: BaseException | None = None

        def log(self, severity: Any, text: str) -> None:
            try:
                # Probing for a driver is an error only to the logger: building goes on without a
                # GPU.
                if severity <= library.module.ILogger.ERROR and "Cuda Runtime" not in text:
                    self.errors.append(text)
            except BaseException as error:
                self.failed = self.failed or error

    return Log()


def _check_builds(library: TensorRT) -> None:
    if not library.builds:
        problem = f"{library.name} {library.version} runs plans, but cannot build them"
        raise EngineError(problem, hint='install the builder: pip install "c2t[tensorrt]"')
    if library.target is Target.tensorrt:
        parts = tuple(int(part) for part in library.version.split(".")[:2] if part.isdigit())
        if parts < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            problem = f"TensorRT {library.version} has no layer for the decoder's KV cache"
            raise EngineError(problem, hint=f"install TensorRT {least} or later")
