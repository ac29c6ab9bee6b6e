"""Opening a graph file with ONNX Runtime on the CPU.

One decision: the weights of a large graph stay in its data file, which ONNX Runtime maps into
memory; those of a small one are copied (`EngineOptions.prepack`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime, onnxruntime_errors
from c2t.runtime.system.errors import EngineError, first_line
from c2t.runtime.system.machine import has_wide_int8_sums

# Of a graph that does not run.
RUN_HINT = "run `c2t verify BUNDLE`, or export the bundle again"
PROVIDERS = ("CPUExecutionProvider",)
# A graph with more data than this is run from the mapped file unless the options say otherwise: a
# decoder of 1B sizes is packed in int8 (1.2 GB), not in float32 (4.9 GB).
PREPACK_BYTES = 2 << 30
# The fused addition and LayerNorm takes 4.2 ns an element on the CPU (1.31), the two apart 1.9 ns:
# a small encoder is 1.2 times faster without the fusion.
SLOW_FUSIONS = ("SkipLayerNormFusion",)
# Where the weights of a graph that is given as bytes lie.
DATA_FOLDER = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True)
class ChangedGraph:
    """A graph that is given in memory: one with operators of ours, or a piece of a graph.

    Args:
        content: The graph file.
        folder: Where its data file lies.
        library: The native library that registers operators of ours with ONNX Runtime; None: it
            has none.
    """

    content: bytes
    folder: Path
    library: Path | None = None


def open_session(
    path: Path,
    options: EngineOptions,
    *,
    profile: Path | None = None,
    changed: ChangedGraph | None = None,
    arena: bool = True,
) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU provider.

    Args:
        path: The graph file.
        options: Threads and memory.
        profile: Where ONNX Runtime's profiler writes; it adds the time to the name. None: nowhere.
        changed: What to open in place of the graph file.
        arena: Whether memory is kept for the next run. An array that a run gave keeps all of it,
            when the session is gone, too.

    Raises:
        EngineError: The graph cannot be opened.
    """
    ort = load_onnxruntime()
    settings = session_settings(options, prepack=is_prepacked(path, options))
    settings.enable_cpu_mem_arena = arena
    if profile is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile)
    source: str | bytes = str(path)
    try:
        if changed is not None:
            source = changed.content
            settings.add_session_config_entry(DATA_FOLDER, str(changed.folder))
            if changed.library is not None:
                settings.register_custom_ops_library(str(changed.library))
        return ort.InferenceSession(
            source,
            settings,
            providers=list(PROVIDERS),
            disabled_optimizers=list(SLOW_FUSIONS),
        )
    except onnxruntime_errors() as error:
        problem = f"ONNX Runtime {ort.__version__} cannot open `{path}`: {first_line(error)}"
        raise EngineError(problem, hint="run `c2t doctor`, or export the bundle again") from error


def session_settings(options: EngineOptions, *, prepack: bool) -> Any:
    """The `onnxruntime.SessionOptions` of every session of this package.

    Args:
        options: Threads, and whether they spin.
        prepack: Whether weights are copied when the graph is opened.

    Raises:
        EngineError: Less than one thread.
    """
    ort = load_onnxruntime()
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    if options.threads is not None:
        if options.threads < 1:
            problem = f"{options.threads} threads asked for"
            raise EngineError(problem, hint="give a number of at least 1")
        settings.intra_op_num_threads = options.threads
    settings.add_session_config_entry(
        "session.intra_op.allow_spinning", "1" if options.spin else "0"
    )
    settings.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
    # Without VNNI, sums of int8 products saturate at 16 bits, which spoils the texts of INT8
    # bundles. Then ONNX Runtime must make the weights unsigned. With VNNI that would only halve the
    # speed.
    exact = "0" if has_wide_int8_sums() else "1"
    settings.add_session_config_entry("session.x64quantprecision", exact)
    return settings


def is_prepacked(path: Path, options: EngineOptions) -> bool:
    """Whether a graph's weights are copied when it is opened."""
    if options.prepack is not None:
        return options.prepack
    data = path.with_name(f"{path.name}.data")
    return not data.is_file() or data.stat().st_size < PREPACK_BYTES


def describe_settings(options: EngineOptions) -> dict[str, str]:
    """The settings of a session in words, for reports."""
    ort = load_onnxruntime()
    return {
        "engine": "onnxruntime",
        "version": str(ort.__version__),
        "provider": PROVIDERS[0],
        "threads": "all cores" if options.threads is None else str(options.threads),
        "spin": "yes" if options.spin else "no",
        "prepack": {None: "small graphs", True: "yes", False: "no"}[options.prepack],
        "optimisation": "all",
    }
