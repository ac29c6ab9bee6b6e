"""A decoder on a GPU whose short steps are one kernel of ours, and whose prompts a library runs.

One decision: a step of few rows cannot be faster than reading the weights, and a library stays far
from that with hundreds of small kernels; what has many rows is arithmetic, which libraries do well.
Both use the same cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.launch import (
    StepArguments,
    StepScratch,
    launch_decoder_step,
    runs_steps,
)
from c2t.kernels.decoder_step.pack import DeviceStepWeights, pack_decoder
from c2t.kernels.decoder_step.sizes import MAX_ROWS, StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer
from c2t.kernels.errors import KernelError
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.engines.built.step_weights import (
    DESCRIPTION_NAME,
    FINAL_NORM,
    ROTARY,
    load_step_weights,
    norm_names,
)
from c2t.runtime.engines.gpu.cache import DeviceCache
from c2t.runtime.engines.gpu.graph import STORAGE, BoundGraph, DeviceGraph, DeviceTensor
from c2t.runtime.system.errors import C2TError, first_line

# Of the largest logit, between two ways of the same sums in float16: an H200 showed 0.3 %. What is
# wrong shows far more.
LOGIT_TOLERANCE = 0.1
EMBEDDING_SPREAD = np.float32(0.02)  # as text embeddings have


class DecoderStepGraph:
    """See `c2t.runtime.engines.gpu.graph.DeviceGraph`.

    Args:
        graph: The decoder's graph, in float16.
        device: The device, whose stream both run on.
        weights: The same decoder's weights for the kernel.
        cuda_graph: Whether what surrounds the kernel in a step may be recorded with it.
    """

    max_bit_exact_rows: int | None = MAX_ROWS

    def __init__(
        self,
        graph: DeviceGraph,
        device: CudaDevice,
        weights: DeviceStepWeights,
        *,
        cuda_graph: bool = True,
    ) -> None:
        self.library = graph
        self._cuda_graph = cuda_graph
        self._device = device
        self.weights = weights
        self._scratch = StepScratch.allocate(weights.sizes)
        self.dtypes = graph.dtypes
        self.cache_capacity = graph.cache_capacity

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> BoundGraph:
        """See `c2t.runtime.engines.gpu.graph.DeviceGraph.bind`."""
        batch, tokens, _ = tensors["inputs_embeds"].shape
        # The kernel has room for as many logits as rows.
        if batch * max(tokens, tensors["logit_rows"].shape[1]) > MAX_ROWS:
            return self.library.bind(tensors, repeated=repeated)
        bound = self._device, self.weights, self._scratch, _arguments(tensors)
        return BoundDecoderStep(*bound, recordable=self._cuda_graph)

    def check(self, decoder: Decoder) -> None:
        """Run a step of each of the kernel's two sizes, and the library's beside it.

        It is compiled, shown to start, and compared on this very device, before a text depends on
        it.

        Args:
            decoder: Sizes, of the bundle's manifest.

        Raises:
            KernelError: It does not compile or start, or gives other logits.
            EngineError: The library fails, or there is no memory.
        """
        shape = (1, MAX_ROWS, decoder.hidden_size)
        draw = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        for tokens in (1, MAX_ROWS):
            embeds = (draw[:, :tokens] * EMBEDDING_SPREAD).astype(np.float16)
            expected, found = (
                self._logits(graph, decoder, embeds) for graph in (self.library, self)
            )
            with np.errstate(invalid="ignore"):
                difference = float(np.abs(found - expected).max() / np.abs(expected).max())
            if not difference <= LOGIT_TOLERANCE:  # not a number is no agreement either
                problem = f"its logits are {difference:.0%} from the library's, {tokens} tokens"
                raise KernelError(problem, hint="report it, with the GPU's name")

    def _logits(
        self, graph: DeviceGraph, decoder: Decoder, embeds: NDArray[np.float16]
    ) -> NDArray[np.float32]:
        """Logits [T,V] of embeddings [1,T,D] that start an empty cache."""
        tokens = embeds.shape[1]
        cache = DeviceCache(self._device, decoder, "float16", 1, self.cache_capacity or MAX_ROWS)
        logits = DeviceArray.allocate((1, tokens, decoder.vocabulary_size), np.float32)
        every = np.arange(tokens, dtype=np.int64)[None]
        inputs: dict[str, NDArray[Any]] = {
            "inputs_embeds": embeds,
            "position_ids": every,
            "logit_rows": every,
            "write_index": np.zeros(1, np.int64),
            "kv_length": np.full(1, tokens, np.int64),
        }
        uploaded = {name: DeviceArray.upload(array) for name, array in inputs.items()}
        tensors = {
            name: DeviceTensor(uploaded[name].pointer, array.shape, array.dtype.name)
            for name, array in inputs.items()
        }
        tensors["logits"] = DeviceTensor(logits.pointer, logits.shape, "float32")
        tensors |= cache.tensors(0, 1)
        bound = graph.bind(tensors, repeated=False)
        try:
            bound.enqueue()
            self._device.synchronize()
            found: NDArray[np.float32] = logits.download()[0]
        finally:
            bound.close()
        return found


class BoundDecoderStep:
    """See `c2t.runtime.engines.gpu.graph.BoundGraph`."""

    def __init__(
        self,
        device: CudaDevice,
        weights: DeviceStepWeights,
        scratch: StepScratch,
        arguments: StepArguments,
        *,
        recordable: bool,
    ) -> None:
        self._bound = device, weights, scratch, arguments
        self.recordable = recordable

    def enqueue(self) -> None:
        """Start the kernel on the device's stream; does not wait."""
        launch_decoder_step(*self._bound)

    def close(self) -> None:
        """Nothing is kept for it."""


def _arguments(tensors: Mapping[str, DeviceTensor]) -> StepArguments:
    """A step's addresses; all caches lie in one array, keys and values of a layer in turn."""
    keys, values = tensors["past_key.0"], tensors["past_value.0"]
    batch, tokens, _ = tensors["inputs_embeds"].shape
    return StepArguments(
        embeds=tensors["inputs_embeds"].address,
        positions=tensors["position_ids"].address,
        write_index=tensors["write_index"].address,
        logit_rows=tensors["logit_rows"].address,
        cache=keys.address,
        cache_stride=(values.address - keys.address) // STORAGE[keys.dtype].itemsize,
        logits=tensors["logits"].address,
        batch=batch,
        tokens=tokens,
        logits_per_cell=tensors["logit_rows"].shape[1],
        capacity=keys.shape[2],
    )


def with_step_kernel(
    graph: DeviceGraph, device: CudaDevice, folder: Path, decoder: Decoder, *, cuda_graph: bool
) -> tuple[DeviceGraph, str]:
    """A decoder's graph with our kernel for its short steps, where that can run them.

    Args:
        graph: The graph, opened on the device.
        device: The device.
        folder: Where the graph lies; a set of `c2t build --target cuda` describes its weights.
        decoder: Sizes, of the bundle's manifest.
        cuda_graph: See `DecoderStepGraph`.

    Returns:
        The graph, and who runs its short steps, as the engine's label says it. Where the kernel
        does not work, such as where the weights do not fit into the GPU's memory twice, the label
        says why, and the library runs them.

    Raises:
        EngineError: The description of the weights is damaged.
    """
    if not (folder / DESCRIPTION_NAME).is_file():
        return graph, ""
    weights, small = load_step_weights(folder, decoder)
    sizes = StepSizes(
        layers=decoder.layers,
        hidden_size=decoder.hidden_size,
        intermediate_size=weights.layers[0].down.shape[0],
        heads=decoder.heads,
        kv_heads=decoder.kv_heads,
        head_size=decoder.head_size,
        vocabulary_size=decoder.vocabulary_size,
    )
    if not runs_steps(device, sizes) or weights.logits.dtype != "float16":
        return graph, ""
    norms = [[small[name] for name in norm_names(layer)] for layer in range(decoder.layers)]
    host = HostDecoder(
        layers=(
            HostLayer(
                attention_norm=attention_norm,
                qkv=_mapped(folder, layer.qkv),
                o=_mapped(folder, layer.output),
                mlp_norm=mlp_norm,
                gate_up=_mapped(folder, layer.gate_up),
                down=_mapped(folder, layer.down),
            )
            for layer, (attention_norm, mlp_norm) in zip(weights.layers, norms, strict=True)
        ),
        norm=small[FINAL_NORM],
        lm_head=_mapped(folder, weights.logits),
        cosines=small[ROTARY[0]],
        sines=small[ROTARY[1]],
        epsilon=weights.epsilon,
        scale=weights.attention_scale,
    )
    try:
        made = DecoderStepGraph(
            graph, device, pack_decoder(device, sizes, host), cuda_graph=cuda_graph
        )
        made.check(decoder)
    except Exception as error:  # of the driver, the compiler or cuda-core, which have their own
        why = error.problem if isinstance(error, C2TError) else first_line(error)
        return graph, f"short steps without our kernel: {why}"
    return made, "a short step is one kernel"


def _mapped(folder: Path, place: TensorReference) -> NDArray[Any]:
    path = folder / place.file
    return np.memmap(path, place.dtype, "r", offset=place.offset, shape=place.shape)
