"""What the libraries on a GPU say when something is wrong; nothing here has a GPU."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from fakes.cuda_driver import STREAM, FakeDevice, FakeDriver
from tiny_data import DECODERS

from c2t.runtime.engines.gpu.graph import DeviceTensor, engine_error
from c2t.runtime.engines.gpu.onnxruntime_graph import check_assignment
from c2t.runtime.engines.gpu.tensorrt_graph import RUNS_BEFORE_CAPTURE, TensorRTGraph
from c2t.runtime.engines.tensorrt_library import Target
from c2t.runtime.system.errors import EngineError

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed: c2t[gpu]")


@pytest.fixture(scope="module")
def graph() -> Path:
    return DECODERS["sure"] / "decoder.onnx"


def test_a_provider_that_is_not_there_is_no_cpu(graph: Path) -> None:
    """The real library: whichever wheel is installed, there is no GPU to run on."""
    program = f"""
        import sys, warnings
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        warnings.simplefilter("ignore")
        from pathlib import Path
        from fakes.cuda_driver import STREAM, FakeDevice, FakeDriver
        from c2t.runtime.engine_protocol import EngineOptions
        from c2t.runtime.system.errors import EngineError
        from c2t.runtime.engines.gpu.onnxruntime_graph import OnnxRuntimeDeviceGraph
        try:
            OnnxRuntimeDeviceGraph(Path({str(graph)!r}), FakeDevice(), EngineOptions())
        except EngineError as error:
            print(error.problem)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "did not start CUDAExecutionProvider" in done.stdout


def test_operators_left_to_the_cpu_are_named(graph: Path) -> None:
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="does not run on the GPU as a whole") as caught:
        check_assignment(session, graph)
    assert "(Concat)" not in caught.value.problem  # arithmetic on shapes is none of it
    assert "would run on the CPU" in caught.value.problem


def test_arithmetic_on_shapes_may_stay_on_the_cpu() -> None:
    def part(provider: str, operator: str) -> Any:
        node = SimpleNamespace(name="n", op_type=operator)
        return SimpleNamespace(ep_name=provider, get_nodes=lambda: [node])

    parts = [part("CUDAExecutionProvider", "Gemm"), part("CPUExecutionProvider", "Concat")]
    check_assignment(SimpleNamespace(get_provider_graph_assignment_info=lambda: parts), Path("d"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 2: out of memory ; GPU=0",
        "Failed to allocate memory for requested buffer of size 1234",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_full_memory_has_a_hint_of_its_own(text: str) -> None:
    error = engine_error(RuntimeError(text), "decoder failed on 8 x 17 tokens")
    assert error.problem == f"decoder failed on 8 x 17 tokens: {text}"
    assert "--batch-size" in error.hint
    assert "doctor" in engine_error(RuntimeError("no kernel image"), "x").hint


@dataclass
class FakeContext:
    """An execution context that accepts everything; counts the runs that are carried out."""

    runs: int = 0
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    starts: bool = True

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return shape[0] < 100

    def execute_async_v3(self, stream: int) -> bool:
        STREAM.start(self._run)
        return self.starts

    def _run(self) -> None:
        self.runs += 1


class FakeEngine:
    """A plan of one input and one output with a profile for prompts and one for steps."""

    num_io_tensors = num_optimization_profiles = 2

    def __init__(self) -> None:
        self.contexts: list[FakeContext] = []
        self.memory = True

    def get_tensor_name(self, number: int) -> str:
        return ("x", "y")[number]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="HALF")

    def get_tensor_mode(self, name: str) -> str:
        return {"x": "in", "y": "out"}[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(1, 1), (1, 300), (1, 400)] if profile == 0 else [(1, 1), (8, 1), (8, 33)]

    def create_execution_context(self, *_: Any) -> FakeContext | None:
        if not self.memory:
            return None
        self.contexts.append(FakeContext())
        return self.contexts[-1]


def plan_graph(engine: FakeEngine) -> TensorRTGraph:
    module = SimpleNamespace(TensorIOMode=SimpleNamespace(INPUT="in"))
    library = SimpleNamespace(module=module, target=Target.tensorrt, name="tensorrt")
    identity = SimpleNamespace(cache_capacity=512)
    plans: Any = SimpleNamespace(
        engines={"decoder.onnx": engine},
        library=library,
        plan_set=SimpleNamespace(identity=identity),
    )
    return TensorRTGraph(plans, "decoder.onnx", FakeDevice())


def tensors(*shape: int) -> dict[str, DeviceTensor]:
    return {name: DeviceTensor(64, shape, "float16") for name in ("x", "y")}


def test_prompts_share_a_context_and_steps_have_their_own() -> None:
    engine = FakeEngine()
    graph = plan_graph(engine)
    assert graph.cache_capacity == 512
    long, longer = (graph.bind(tensors(1, n), repeated=False) for n in (200, 300))
    assert len(engine.contexts) == 1
    for bound, length in ((long, 200), (longer, 300), (long, 200)):
        bound.enqueue()
        assert engine.contexts[0].shapes["x"] == (1, length)
    graph.bind(tensors(8, 1), repeated=True)
    graph.bind(tensors(2, 1), repeated=True)
    assert len(engine.contexts) == 3


def test_shapes_outside_the_profiles() -> None:
    with pytest.raises(EngineError, match=r"takes no x of shape \(9, 40\)") as caught:
        plan_graph(FakeEngine()).bind(tensors(9, 40), repeated=False)
    assert "c2t build --rows" in caught.value.hint


def test_no_memory_for_a_context() -> None:
    engine = FakeEngine()
    graph = plan_graph(engine)
    engine.memory = False
    with pytest.raises(EngineError, match=r"no memory to run decoder\.onnx") as caught:
        graph.bind(tensors(1, 1), repeated=True)
    assert "--batch-size" in caught.value.hint


def test_a_plan_that_does_not_start() -> None:
    engine = FakeEngine()
    bound = plan_graph(engine).bind(tensors(1, 1), repeated=True)
    engine.contexts[0].starts = False
    with pytest.raises(EngineError, match="could not start the plan"):
        bound.enqueue()


def test_a_refused_capture_runs_on_without_a_cuda_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = pytest.importorskip("cuda.bindings.driver", reason="needs c2t[gpu]")
    unsupported = driver.CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    monkeypatch.setattr(driver, "cuStreamBeginCapture", lambda *_: (unsupported,))
    engine = FakeEngine()
    bound = plan_graph(engine).bind(tensors(1, 1), repeated=True)
    for _ in range(RUNS_BEFORE_CAPTURE + 2):
        bound.enqueue()
    assert engine.contexts[0].runs == RUNS_BEFORE_CAPTURE + 2
    assert "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" in bound.capture_problem
    bound.close()


def test_a_captured_step_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    driver.install(monkeypatch)
    engine = FakeEngine()
    bound = plan_graph(engine).bind(tensors(1, 1), repeated=True)
    for run in range(1, RUNS_BEFORE_CAPTURE + 2):
        bound.enqueue()
        # The captured run is not carried out by capturing it: it is launched at once.
        assert engine.contexts[0].runs == run
    assert driver.launches == 2
    assert bound.capture_problem == ""
    bound.close()
    assert driver.graphs == driver.executables == {}
