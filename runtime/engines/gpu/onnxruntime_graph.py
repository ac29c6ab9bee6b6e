"""Graphs on ONNX Runtime's CUDA provider, with addresses of our own bound in place.

Two decisions. Nothing is left to the CPU: a graph is refused if the CPU would run more of it than
arithmetic on shapes. And only steps that come back become CUDA graphs: capturing one costs three
runs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2t.kernels.cuda.device import CudaDevice
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.built.step_weights import HINT
from c2t.runtime.engines.cpu.session import session_settings
from c2t.runtime.engines.gpu.graph import DeviceTensor, engine_error
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime, onnxruntime_errors
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.tensor_files import STORAGE

PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
GPU_HINT = "run `c2t doctor`: it names what is missing"
# ONNX Runtime keeps arithmetic on shapes on the CPU by itself, and CUDA graphs allow for it.
SHAPE_OPERATORS = frozenset({"Shape", "Concat"})
# Most tokens of a run over the prompts or genes of several cells. A 1B decoder's activations then
# take 0.5 GB in float16; attention scores of two cells of 4096 genes, where no kernel avoids them,
# 1.6 GB in float32.
BATCH_TOKENS = 8192
# Runs of a shape before it is captured.
RUNS_BEFORE_CAPTURE = 3
NO_CAPTURE = "-1"  # ONNX Runtime's number for runs outside of any CUDA graph
GRAPH_OPTION = "gpu_graph_id"
# What ONNX Runtime calls the dtypes.
ELEMENTS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
ONNX_BFLOAT16 = 16  # ONNX's number of the dtype: the bindings take bfloat16 by no other name
# What a graph's file calls them.
NUMBERED = {1: "float32", 6: "int32", 7: "int64", 10: "float16", ONNX_BFLOAT16: "bfloat16"}


class OnnxRuntimeDeviceGraph:
    """See `c2t.runtime.engines.gpu.graph.DeviceGraph`.

    Args:
        path: The graph.
        device: The device, whose stream the graph runs on.
        options: How to open it.
        plans: Folder for the plans of ONNX Runtime's TensorRT provider. It runs the graph then, and
            CUDA runs the nodes that it does not take. None: CUDA runs all of it.

    Raises:
        EngineError: It cannot be opened, or the CPU would run a part of it.
    """

    batch_tokens = BATCH_TOKENS
    max_bit_exact_rows: int | None = None  # the library may choose other kernels for other shapes

    def __init__(
        self, path: Path, device: CudaDevice, options: EngineOptions, *, plans: Path | None = None
    ) -> None:
        ort = load_onnxruntime()
        self._device = device
        self._cuda_graph = options.cuda_graph and plans is None
        settings = session_settings(options, prepack=True)
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers = _providers(device, plans, cuda_graph=self._cuda_graph)
        missing = load_cuda_libraries(ort)
        try:
            self._session = ort.InferenceSession(str(path), settings, providers=providers)
        except onnxruntime_errors() as error:
            doing = f"ONNX Runtime {ort.__version__} cannot open `{path.name}` on the GPU"
            raise engine_error(error, doing) from error
        # ONNX Runtime goes on without a provider that it cannot load.
        if self._session.get_providers()[0] != providers[0][0]:
            reason = f": {missing}" if missing else ""
            problem = f"ONNX Runtime {ort.__version__} did not start {providers[0][0]}{reason}"
            raise EngineError(problem, hint=GPU_HINT)
        check_assignment(self._session, path)
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        self.dtypes = {value.name: ELEMENTS[value.type] for value in values}
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._captured = 0
        self.cache_capacity: int | None = None

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> OnnxRuntimeBoundGraph:
        """See `c2t.runtime.engines.gpu.graph.DeviceGraph.bind`."""
        binding = self._session.io_binding()
        number = self._device.number
        for name in self._inputs:
            tensor = tensors[name]
            element, shape = _element(tensor.dtype), list(tensor.shape)
            binding.bind_input(name, "cuda", number, element, shape, tensor.address)
        for name in self._outputs:
            tensor = tensors[name]
            element, shape = _element(tensor.dtype), list(tensor.shape)
            binding.bind_output(name, "cuda", number, element, shape, tensor.address)
        return OnnxRuntimeBoundGraph(self, binding, capture=repeated and self._cuda_graph)

    @property
    def session(self) -> Any:
        """The `onnxruntime.InferenceSession`."""
        return self._session

    def next_graph_number(self) -> int:
        """A number for a CUDA graph, different from those of the session's others."""
        self._captured += 1
        return self._captured


class OnnxRuntimeBoundGraph:
    """See `c2t.runtime.engines.gpu.graph.BoundGraph`."""

    recordable = False  # ONNX Runtime records its graphs itself
    last_logit_rows = False

    def __init__(self, graph: OnnxRuntimeDeviceGraph, binding: Any, *, capture: bool) -> None:
        self._graph = graph
        self._binding = binding
        self._capture = capture
        self._runs = 0
        self._number: int | None = None
        self._options = load_onnxruntime().RunOptions()
        # The host waits for the stream by itself, after the kernels that follow.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._options.add_run_config_entry(GRAPH_OPTION, NO_CAPTURE)

    def enqueue(self) -> None:
        """Start a run on the device's stream; does not wait.

        Raises:
            EngineError: ONNX Runtime cannot start it.
        """
        self._runs += 1
        if self._capture and self._runs == RUNS_BEFORE_CAPTURE:
            self._number = self._graph.next_graph_number()
            self._options.add_run_config_entry(GRAPH_OPTION, str(self._number))
        try:
            self._graph.session.run_with_iobinding(self._binding, self._options)
        except onnxruntime_errors() as error:
            raise engine_error(error, "ONNX Runtime") from error

    def close(self) -> None:
        """Free the CUDA graph."""
        if self._number is not None:
            self._graph.session.release_captured_graph(self._number)
            self._number = None


def stored_dtypes(path: Path) -> dict[str, str]:
    """Dtypes of a graph's inputs and outputs, read of its file without opening it.

    Raises:
        EngineError: It is no graph, or of operators or dtypes that c2t does not write.
    """
    ends = check_graph(path, error=EngineError, hint=HINT)
    values = ends.inputs | ends.outputs
    return {name: NUMBERED[number] for name, (number, _) in values.items()}


def load_cuda_libraries(ort: Any) -> str:
    """Load the CUDA libraries that pip installed; returns what ONNX Runtime says is missing."""
    if not hasattr(ort, "preload_dlls"):
        return ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it cannot load
        ort.preload_dlls()
    lines = [line.strip() for line in said.getvalue().splitlines() if "Failed to load" in line]
    return "; ".join(lines)


def _providers(
    device: CudaDevice, plans: Path | None, *, cuda_graph: bool
) -> list[tuple[str, dict[str, str]]]:
    """Providers with their options, the first one first."""
    stream = str(device.handle)
    cuda = {
        "device_id": str(device.number),
        "user_compute_stream": stream,
        "arena_extend_strategy": "kSameAsRequested",
        # Shortened mantissas would change texts; half precision is asked for by its own graphs.
        "use_tf32": "0",
        "enable_cuda_graph": "1" if cuda_graph else "0",
    }
    if plans is None:
        return [(PROVIDER, cuda)]
    tensorrt = {
        "device_id": str(device.number),
        "user_compute_stream": stream,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(plans),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(plans),
    }
    return [(TENSORRT_PROVIDER, tensorrt), (PROVIDER, cuda)]


def check_assignment(session: Any, path: Path) -> None:
    """Refuse a graph if the CPU would run more of it than arithmetic on shapes.

    Args:
        session: An `onnxruntime.InferenceSession` that records where its nodes run.
        path: The graph file.

    Raises:
        EngineError: Names some of the operators that would run on the CPU.
    """
    left = [
        f"{node.name} ({node.op_type})"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == "CPUExecutionProvider"
        for node in part.get_nodes()
        if node.op_type not in SHAPE_OPERATORS
    ]
    if left:
        problem = (
            f"`{path.name}` does not run on the GPU as a whole: {len(left)} operators would run "
            f"on the CPU, {', '.join(left[:3])} among them"
        )
        raise EngineError(problem, hint="use `--engine cpu`, or a bundle of another precision")


def _element(dtype: str) -> Any:
    """A dtype as ONNX Runtime's bindings take it."""
    return ONNX_BFLOAT16 if dtype == "bfloat16" else STORAGE[dtype].type
