"""Which kernels ONNX Runtime really runs for the products of a quantised graph.

One decision: the profiler is asked, not the graph. A product whose weight is widened to float32 on
every call looks the same in the file and costs more than it did before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session

INTEGER_KERNELS = frozenset({"MatMulIntegerToFloat", "QGemm", "QLinearMatMul", "MatMulInteger"})
BLOCK_KERNELS = frozenset({"MatMulNBits"})


@dataclass(frozen=True, kw_only=True)
class KernelReport:
    """What ran for a graph.

    Args:
        graph: Its file.
        kernels: Product -> operator, as it ran.
        float32: Quantised products that ran as something else than integer (or block) kernels.
        widened: How often a run dequantised a whole tensor.
    """

    graph: str
    kernels: dict[str, str]
    float32: tuple[str, ...]
    widened: int


def profile_kernels(
    path: Path, inputs: Mapping[str, NDArray[Any]], products: Sequence[str]
) -> KernelReport:
    """Run a graph once under the profiler.

    Args:
        path: The graph file.
        inputs: Its inputs.
        products: The quantised products, by name.
    """
    operators = {event.node: event.operator for event in _run(path, inputs)}
    found = {name: operators.get(name, "none") for name in products}
    return KernelReport(
        graph=path.name,
        kernels=found,
        float32=tuple(
            name for name, kernel in found.items() if kernel not in INTEGER_KERNELS | BLOCK_KERNELS
        ),
        widened=sum(operator == "DequantizeLinear" for operator in operators.values()),
    )


def operator_seconds(
    path: Path, inputs: Mapping[str, NDArray[Any]], threads: int | None = None
) -> dict[str, float]:
    """Where the time of a run goes: seconds by operator, the longest first.

    Args:
        path: The graph file.
        inputs: Its inputs.
        threads: Threads of the run; None: all cores.
    """
    # Of the second of two runs: the first one also allocates.
    last = {event.node: event for event in _run(path, inputs, runs=2, threads=threads)}
    seconds: dict[str, float] = {}
    for event in last.values():
        seconds[event.operator] = seconds.get(event.operator, 0.0) + event.seconds
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class _KernelEvent:
    """One node's run; a fused node keeps its product's name."""

    node: str
    operator: str
    seconds: float


def _run(
    path: Path, inputs: Mapping[str, NDArray[Any]], *, runs: int = 1, threads: int | None = None
) -> list[_KernelEvent]:
    options = EngineOptions(threads=threads, prepack=True)
    with TemporaryDirectory() as folder:
        session = open_session(path, options, profile=Path(folder) / "run")
        for _ in range(runs):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    end = "_kernel_time"
    return [
        _KernelEvent(event["name"].removesuffix(end), event["args"]["op_name"], event["dur"] / 1e6)
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(end)
    ]
