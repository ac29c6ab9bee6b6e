"""The kernels that ONNX Runtime runs for the linears of a quantised graph.

One decision: the profiler is asked, because the graph cannot say. In it, a linear that runs on
integers looks like one whose weight is widened to float32 in every run, which is slower than
float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from c2t.calibration.results.calibration import KernelReport
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import ChangedGraph, open_session

INTEGER_KERNELS = frozenset({"MatMulIntegerToFloat", "QGemm", "QLinearMatMul", "MatMulInteger"})
BLOCK_KERNELS = frozenset({"MatMulNBits"})


def profile_kernels(
    path: Path, inputs: Mapping[str, NDArray[Any]], linears: Sequence[str]
) -> KernelReport:
    """Run a graph once under the profiler.

    Args:
        path: The graph file.
        inputs: The graph's inputs by name.
        linears: Names of the quantised linears.
    """
    operators = {event.node: event.operator for event in _run(path, inputs)}
    kernels = {name: operators.get(name, "none") for name in linears}
    return KernelReport(
        graph=path.name,
        kernels=kernels,
        float32=tuple(
            name
            for name, kernel in kernels.items()
            if kernel not in INTEGER_KERNELS | BLOCK_KERNELS
        ),
        widened=sum(operator == "DequantizeLinear" for operator in operators.values()),
    )


def operator_seconds(
    path: Path,
    inputs: Mapping[str, NDArray[Any]],
    threads: int | None = None,
    *,
    changed: ChangedGraph | None = None,
) -> dict[str, float]:
    """Seconds of a run by operator, the longest first.

    Args:
        path: The graph file.
        inputs: The graph's inputs by name.
        threads: Threads of the run; None: all cores.
        changed: What to open in place of the graph file.
    """
    # The second of two runs counts: the first one also allocates.
    events = _run(path, inputs, runs=2, threads=threads, changed=changed)
    last = {event.node: event for event in events}
    seconds: dict[str, float] = {}
    for event in last.values():
        seconds[event.operator] = seconds.get(event.operator, 0.0) + event.seconds
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class _KernelEvent:
    """A run of one node; a fused node has the name of its linear."""

    node: str
    operator: str
    seconds: float


def _run(
    path: Path,
    inputs: Mapping[str, NDArray[Any]],
    *,
    runs: int = 1,
    threads: int | None = None,
    changed: ChangedGraph | None = None,
) -> list[_KernelEvent]:
    options = EngineOptions(threads=threads, prepack=True)
    with TemporaryDirectory() as folder:
        session = open_session(path, options, profile=Path(folder) / "run", changed=changed)
        for _ in range(runs):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    end = "_kernel_time"
    return [
        _KernelEvent(event["name"].removesuffix(end), event["args"]["op_name"], event["dur"] / 1e6)
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(end)
    ]
