"""The kernels that ONNX Runtime runs for the linears of a quantised graph.

One decision: the profiler is asked, because the graph cannot say. In it, a linear that runs on
integers looks like one whose weight is widened to float32 in every run, which is slower than
float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from c2t.calibration.results.calibration import KernelReport
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session

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
    operators = _run(path, inputs)
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


def _run(path: Path, inputs: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """The operator of each node that ran; a fused node has the name of its linear."""
    with TemporaryDirectory() as folder:
        session = open_session(path, EngineOptions(prepack=True), profile=Path(folder) / "run")
        session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    end = "_kernel_time"
    return {
        event["name"].removesuffix(end): event["args"]["op_name"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(end)
    }
