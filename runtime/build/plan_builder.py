"""One graph to one plan, with whichever TensorRT there is: strongly typed, straight to a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2t.runtime.build.build_progress import Phases, progress_monitor
from c2t.runtime.build.deferred_signals import DeferredSignals
from c2t.runtime.engines.built.plan_profiles import Profile
from c2t.runtime.engines.tensorrt_library import GPU_PREFIX, Target, TensorRT, message_log, start
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.files import atomic_file
from c2t.runtime.system.progress import Advance


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """How a plan is built.

    Args:
        gpus: Compute capabilities to build for, such as "sm_89"; empty: the GPU that is here.
        lean: Whether the lean runtime must be able to run it.
        timing_cache: File of measured times that is read and extended; None: none.
    """

    gpus: tuple[str, ...] = ()
    lean: bool = False
    timing_cache: Path | None = field(default=None, compare=False)


def build_plan(
    library: TensorRT,
    graph: Path,
    target: Path,
    profiles: Sequence[Profile],
    options: PlanOptions,
    *,
    advance: Advance = lambda _: None,
) -> None:
    """Build a plan.

    Args:
        library: TensorRT.
        graph: The graph file, its data file beside it.
        target: The plan to write.
        profiles: Shapes, in the order in which the plan is to hold them.
        options: How to build it.
        advance: Called with the units of work done, see `c2t.runtime.build.build_progress`.

    Raises:
        EngineError: TensorRT refuses the graph, cannot build it, or writes no plan.
        KeyboardInterrupt: Ctrl-C; the plan may be half-written then.
    """
    with DeferredSignals() as signals:
        _build(library, graph, target, profiles, options, advance, signals)


def _build(
    library: TensorRT,
    graph: Path,
    target: Path,
    profiles: Sequence[Profile],
    options: PlanOptions,
    advance: Advance,
    signals: DeferredSignals,
) -> None:
    trt, log = library.module, message_log(library)
    builder = start(library, "Builder", log)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        problems = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise _failed(graph, "; ".join(problems) or "the parser refuses it", log)
    config = builder.create_builder_config()
    _choose_gpus(library, config, options.gpus)
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        for name, of_input in profile.items():
            shapes.set_shape(name, of_input.least, of_input.usual, of_input.most)
        config.add_optimization_profile(shapes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # names of layers: small
    if options.lean:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        # A lean runtime within the plan would be code for the CPU, which is refused when opened.
        config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    timing = _timing_cache(config, options.timing_cache)
    monitor = progress_monitor(library, Phases(advance), lambda: signals.came is not None)
    config.progress_monitor = monitor
    built, failed, written = _write(trt, builder, network, config, target)
    if signals.came is not None:
        return  # the end of the block obeys it
    for error in (failed, monitor.failed, log.failed):
        if error is not None:
            raise error
    if not built:
        raise _failed(graph, "it cannot be built", log)
    size = target.stat().st_size
    if not size or size != written:
        raise _failed(graph, f"{written:,} bytes were written, {size:,} are there", log)
    if timing is not None and options.timing_cache is not None:
        with atomic_file(options.timing_cache, force=True) as temporary:
            temporary.write_bytes(memoryview(timing.serialize()))


def _network_flags(trt: Any) -> int:
    """The flag for strong typing. Since TensorRT 11 every network has it; the flag may go."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _choose_gpus(library: TensorRT, config: Any, gpus: Sequence[str]) -> None:
    if library.target is not Target.rtx or not gpus:
        return
    config.num_compute_capabilities = len(gpus)
    for place, gpu in enumerate(gpus):
        name = f"SM{gpu.removeprefix(GPU_PREFIX)}"
        config.set_compute_capability(getattr(library.module.ComputeCapability, name), place)


def _timing_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _write(
    trt: Any, builder: Any, network: Any, config: Any, target: Path
) -> tuple[bool, BaseException | None, int]:
    """Build and write a plan; piece by piece where TensorRT can, without a copy of gigabytes.

    Returns:
        Whether TensorRT says that it built it; the first exception of writing, which TensorRT does
        not let through; and the bytes that it gave to write.
    """
    if not hasattr(builder, "build_serialized_network_to_stream"):
        plan = builder.build_serialized_network(network, config)
        content = memoryview(b"" if plan is None else plan)
        target.write_bytes(content)
        return plan is not None, None, content.nbytes

    class Writer(trt.IStreamWriter):  # type: ignore[misc]  # of a module known at run time
        def __init__(self, stream: Any) -> None:
            super().__init__()
            self._stream = stream
            self.written = 0
            self.failed: BaseException | None = None

        def write(self, data: Any) -> int:
            try:
                if self.failed is None:
                    self._stream.write(data)
                    self.written += len(data)
                    return len(data)
            except BaseException as error:
                self.failed = error
            return 0

    with target.open("wb") as stream:
        writer = Writer(stream)
        built = bool(builder.build_serialized_network_to_stream(network, config, writer))
        return built, writer.failed, writer.written


def _failed(graph: Path, reason: str, log: Any) -> EngineError:
    said = log.errors[-1].strip() if log.errors else ""
    problem = f"TensorRT cannot build {graph.name}: {reason}" + (f" ({said})" if said else "")
    return EngineError(problem, hint="run `c2t doctor`; is there memory enough?")
