"""Plans of TensorRT and TensorRT for RTX, with addresses of our own, captured as CUDA graphs.

One decision: a step that comes back has an execution context of its own, whose memory a captured
CUDA graph may keep using. Prompts, each of another length, take turns in one context for each
profile.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.graph import RecordedWork
from c2t.runtime.engines.built.open_plans import OpenedPlans
from c2t.runtime.engines.gpu.graph import FULL_HINT, DeviceTensor
from c2t.runtime.engines.tensorrt_library import Target
from c2t.runtime.system.errors import C2TError, EngineError, OutputError
from c2t.runtime.system.files import atomic_file

RUNS_BEFORE_CAPTURE = 3
RUNTIME_CACHE = "runtime.cache"  # what TensorRT for RTX compiled on this GPU
RUNTIME_CACHE_BYTES_MAX = 1 << 30
# The names of TensorRT's dtypes.
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
}


class TensorRTGraph:
    """See `c2t.runtime.engines.gpu.graph.DeviceGraph`.

    Args:
        plans: The opened plans.
        graph: File of the graph, such as "decoder.onnx".
        device: The device, whose stream the plan runs on.
        cuda_graph: Whether repeated steps become CUDA graphs.
    """

    batch_tokens = 0  # its plans are built for prompts of one cell
    max_bit_exact_rows: int | None = None  # the library may choose other kernels for other shapes

    def __init__(
        self, plans: OpenedPlans, graph: str, device: CudaDevice, *, cuda_graph: bool = True
    ) -> None:
        self.device = device
        self._plans = plans
        self._name = graph
        self._engine = plans.engines[graph]
        self._trt = plans.library.module
        self._is_rtx = plans.library.target is Target.rtx
        self._cuda_graph = cuda_graph
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.dtypes = {n: DTYPES[self._engine.get_tensor_dtype(n).name] for n in names}
        is_input = self._trt.TensorIOMode.INPUT
        self.inputs = [n for n in names if self._engine.get_tensor_mode(n) == is_input]
        self._shared: dict[int, Any] = {}  # contexts by profile
        # By profile: id of the bound graph whose addresses the shared context has.
        self.holder: dict[int, int] = {}
        self._configs: dict[bool, Any] = {}
        self._cache = self._open_runtime_cache() if self._is_rtx else None

    @property
    def cache_capacity(self) -> int | None:
        """Cache positions of the decoder's caches, a fixed number in a plan."""
        return self._plans.plan_set.identity.cache_capacity

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> TensorRTBoundGraph:
        """See `c2t.runtime.engines.gpu.graph.DeviceGraph.bind`."""
        profile = self._profile(tensors)
        own = repeated and self._cuda_graph
        if own:
            context = self._new_context(profile, captured=self._is_rtx)
        elif profile in self._shared:
            context = self._shared[profile]
        else:
            context = self._shared[profile] = self._new_context(profile, captured=False)
        capture = own and not self._is_rtx
        return TensorRTBoundGraph(
            self, context, tensors, profile=None if own else profile, capture=capture
        )

    def _profile(self, tensors: Mapping[str, DeviceTensor]) -> int:
        """The last profile that takes these shapes.

        The profile of steps is the last: it is faster for shapes that both profiles take.
        """
        for profile in reversed(range(self._engine.num_optimization_profiles)):
            if all(self._takes(name, tensors[name].shape, profile) for name in self.inputs):
                return profile
        first = self.inputs[0]
        problem = f"the plan of {self._name} takes no {first} of shape {tensors[first].shape}"
        hint = "build plans for more cells or longer texts: `c2t build --rows --max-new-tokens`"
        raise EngineError(problem, hint=hint)

    def _takes(self, name: str, shape: tuple[int, ...], profile: int) -> bool:
        least, _, most = self._engine.get_tensor_profile_shape(name, profile)
        return all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))

    def _new_context(self, profile: int, *, captured: bool) -> Any:
        if self._is_rtx:
            context = self._engine.create_execution_context(self._runtime_config(captured))
        else:
            context = self._engine.create_execution_context()
        if context is None:
            problem = (
                f"no execution context: {self._plans.library.name} has no memory to run "
                f"{self._name}: out of memory"
            )
            raise EngineError(problem, hint=FULL_HINT)
        if not context.set_optimization_profile_async(profile, self.device.handle):
            problem = f"{self._plans.library.name} refuses profile {profile} of {self._name}"
            raise EngineError(problem, hint="build the plans again: `c2t build --force`")
        return context

    def _runtime_config(self, captured: bool) -> Any:
        """The settings of a context of TensorRT for RTX, which captures CUDA graphs by itself.

        Args:
            captured: Whether it captures one.
        """
        if captured not in self._configs:
            config = self._engine.create_runtime_config()
            strategy = self._trt.CudaGraphStrategy
            config.cuda_graph_strategy = (
                strategy.WHOLE_GRAPH_CAPTURE if captured else strategy.DISABLED
            )
            config.set_runtime_cache(self._cache)
            self._configs[captured] = config
        return self._configs[captured]

    def _open_runtime_cache(self) -> Any:
        """The kernels that an earlier process compiled; written to disk when this one ends."""
        path = self._plans.folder / f"{self._name}.{RUNTIME_CACHE}"
        cache = self._engine.create_runtime_config().create_runtime_cache()
        if path.is_file() and path.stat().st_size <= RUNTIME_CACHE_BYTES_MAX:
            # TensorRT checks it against this machine, and starts anew if it does not fit.
            cache.deserialize(path.read_bytes())
        weakref.finalize(self, _save_runtime_cache, cache, path)
        return cache


class TensorRTBoundGraph:
    """See `c2t.runtime.engines.gpu.graph.BoundGraph`.

    Args:
        context: The execution context.
        tensors: Addresses and shapes.
        profile: Profile of a context that others use too; None: the context is its own.
        capture: Whether to capture a CUDA graph with the driver.

    Attributes:
        capture_problem: Why there is no CUDA graph although one was wanted, or "".
    """

    recordable = False  # no plan has been recorded within a whole step on a GPU so far
    last_logit_rows = False

    def __init__(
        self,
        graph: TensorRTGraph,
        context: Any,
        tensors: Mapping[str, DeviceTensor],
        *,
        profile: int | None,
        capture: bool,
    ) -> None:
        self._graph = graph
        self._context = context
        self._tensors = {name: tensors[name] for name in graph.dtypes}
        self._profile = profile
        self._capture = capture
        self._runs = 0
        self._captured: RecordedWork | None = None
        self.capture_problem = ""
        if profile is None:
            self._bind()

    def enqueue(self) -> None:
        """Start a run on the device's stream; does not wait.

        Raises:
            EngineError: TensorRT refuses an address or a shape, or does not start.
        """
        if self._profile is not None and self._graph.holder.get(self._profile) != id(self):
            self._bind()
            self._graph.holder[self._profile] = id(self)
        self._runs += 1
        if self._capture and self._runs == RUNS_BEFORE_CAPTURE:
            self._capture_run()
        if self._captured is not None:
            self._captured.start()
        else:
            self._execute()

    def close(self) -> None:
        """Free the CUDA graph, and forget the addresses."""
        if self._captured is not None:
            self._captured.close()
            self._captured = None
        for profile, holder in list(self._graph.holder.items()):
            if holder == id(self):
                del self._graph.holder[profile]

    def _bind(self) -> None:
        for name, tensor in self._tensors.items():
            accepted = self._context.set_tensor_address(name, tensor.address)
            if name in self._graph.inputs:
                accepted = self._context.set_input_shape(name, tensor.shape) and accepted
            if not accepted:
                problem = f"TensorRT refuses {name} of shape {tensor.shape}"
                raise EngineError(problem, hint="build the plans again: `c2t build --force`")

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._graph.device.handle):
            problem = "TensorRT could not start the plan"
            raise EngineError(problem, hint="run `c2t doctor`")

    def _capture_run(self) -> None:
        """Capture one run, which does not execute it; if that fails, runs go on without."""
        try:
            self._captured = RecordedWork(self._graph.device, self._execute)
        except C2TError as error:
            self._capture = False
            self.capture_problem = error.problem


def _save_runtime_cache(cache: Any, path: Path) -> None:
    """Write a runtime cache whole or not at all.

    A cache that cannot be written is no error: the next process compiles the kernels again.
    """
    data = bytes(cache.serialize())
    with contextlib.suppress(OSError, OutputError), atomic_file(path, force=True) as temporary:
        temporary.write_bytes(data)
