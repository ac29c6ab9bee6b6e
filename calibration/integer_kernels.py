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

from c2t.runtime.engine import EngineOptions
from c2t.runtime.onnxruntime_loader import load_onnxruntime
from c2t.runtime.onnxruntime_session import PROVIDERS, session_settings

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
    operators = _run(path, inputs)
    found = {name: operators.get(name, "none") for name in products}
    return KernelReport(
        graph=path.name,
        kernels=found,
        float32=tuple(
            name for name, kernel in found.items() if kernel not in INTEGER_KERNELS | BLOCK_KERNELS
        ),
        widened=sum(operator == "DequantizeLinear" for operator in operators.values()),
    )


def _run(path: Path, inputs: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Node -> operator of one run; a fused node keeps its product's name."""
    ort = load_onnxruntime()
    settings = session_settings(EngineOptions(), prepack=True)  # as bundles are opened
    settings.enable_profiling = True
    with TemporaryDirectory() as folder:
        settings.profile_file_prefix = str(Path(folder) / "run")
        session = ort.InferenceSession(str(path), settings, providers=list(PROVIDERS))
        session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    end = "_kernel_time"
    return {
        event["name"].removesuffix(end): event["args"]["op_name"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(end)
    }
