"""A decoder on a GPU whose short steps are one kernel of ours.

Two decisions. A step of few tokens cannot be faster than reading the weights, and a library with
its hundreds of small kernels is far from that. A prompt is mostly arithmetic, which libraries do
well: of a decoder in float16, the library runs prompts and larger steps, over the same cache. And
linears in int8 multiply int8 by int8 in our kernel, as the bundle's graph states it; the library
has no such products on CUDA. So of a decoder with any, the kernel runs everything, in groups of
rows: else a text would depend on how many cells are written beside it. The library's decoder, which
fills twice as much of the GPU's memory as int8 weights, is then opened only where the kernel cannot
be used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.cpu import CpuDecoderStep, step_kernels
from c2t.kernels.decoder_step.groups import divide_step, divides_texts
from c2t.kernels.decoder_step.launch import (
    StepArguments,
    StepScratch,
    launch_decoder_step,
    max_step_rows,
)
from c2t.kernels.decoder_step.layout import ROWS, StepLayout
from c2t.kernels.decoder_step.pack import DeviceStepWeights, pack_decoder
from c2t.kernels.decoder_step.packed_decoder import PackedDecoder
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder
from c2t.kernels.errors import KernelError
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engines.gpu.cache import DeviceCache
from c2t.runtime.engines.gpu.graph import BoundGraph, DeviceGraph, DeviceTensor, engine_error
from c2t.runtime.engines.gpu.host_weights import half_weights, int8_weights
from c2t.runtime.engines.gpu.onnxruntime_graph import BATCH_TOKENS, stored_dtypes
from c2t.runtime.engines.known_decoder.recognise import UnknownDecoderError
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.tensor_files import STORAGE

# Largest difference of a logit, as a share of the largest logit. The same sums in another order
# gave 0.3 % in float16 on an H200; a kernel that is wrong differs far more.
LOGIT_TOLERANCE = 0.1
# Mean difference from the CPU's logits of int8 products, as a share of the mean logit. A number
# that is rounded otherwise moves an activation by a whole step, so single logits differ more. Tiny
# decoders, emulated, differed by up to 2 %, and by 3 % to 70 % from the library, which does not
# quantise.
INT8_LOGIT_TOLERANCE = 0.2
INT8_PRODUCTS = "with int8 products"  # in the label of an engine whose kernel has them
WITHOUT = "short steps without our kernel"
EMBEDDING_SPREAD = np.float32(0.02)  # standard deviation of text embeddings


class DecoderStepGraph:
    """See `c2t.runtime.engines.gpu.graph.DeviceGraph`.

    Args:
        library: The decoder's graph in float16, opened by a library. None: the kernel runs
            everything, as it must where some weights are in int8.
        device: The device, whose stream both run on.
        weights: The same decoder's weights, packed for the kernel.
        dtypes: Of all inputs and outputs of the decoder's graph.
        rows: The most rows (tokens of all batch rows) that the kernel runs at once.
        cuda_graph: Whether a step may be recorded as one CUDA graph.
    """

    def __init__(
        self,
        library: DeviceGraph | None,
        device: CudaDevice,
        weights: DeviceStepWeights,
        *,
        dtypes: Mapping[str, str],
        rows: int,
        cuda_graph: bool = True,
    ) -> None:
        self.library = library
        self.max_bit_exact_rows: int | None = None if library is None else rows
        self.rows = rows
        self._cuda_graph = cuda_graph
        self._device = device
        self.weights = weights
        self._scratch = StepScratch.allocate(weights.sizes, rows)
        self._places = DeviceArray.upload(np.arange(rows, dtype=np.int64))
        self.dtypes = dtypes
        self.cache_capacity = None if library is None else library.cache_capacity
        self.batch_tokens = BATCH_TOKENS if library is None else library.batch_tokens

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> BoundGraph:
        """See `c2t.runtime.engines.gpu.graph.DeviceGraph.bind`."""
        batch, tokens, _ = tensors["inputs_embeds"].shape
        wanted = tensors["logit_rows"].shape[1]
        # The kernel has memory for as many logit rows as tokens.
        if self.library is not None and batch * max(tokens, wanted) > self.rows:
            return self.library.bind(tensors, repeated=repeated)
        try:
            groups = divide_step(
                self.weights.sizes,
                _arguments(tensors),
                rows=self.rows,
                places=self._places.pointer,
            )
        except KernelError as error:
            raise engine_error(error, "the step kernel") from error
        return BoundDecoderStep(
            self._device,
            self.weights,
            self._scratch,
            groups,
            recordable=self._cuda_graph and repeated,
            last_logit_rows=divides_texts(self.rows, tokens=tokens, logits_per_cell=wanted),
        )

    def check(self, decoder: Decoder, host: HostDecoder) -> None:
        """Compile the kernel for all sizes of a step, run it, and compare its logits.

        This happens on the user's own GPU, before any text depends on the kernel. Float16 weights
        are compared with the library. Int8 weights are compared with the CPU, since the library
        does not quantise activations, and also in a text that is divided: of it, the logits of its
        second part.

        Args:
            decoder: Sizes, of the bundle's manifest.
            host: The weights on the host.

        Raises:
            KernelError: The kernel does not compile or start, or gives other logits; or nothing on
                this CPU can be compared with it.
            EngineError: The library fails, or the GPU's memory is full.
        """
        divided = (self.rows + ROWS[0],) if self.library is None else ()
        shape = (1, *(divided or (self.rows,)), decoder.hidden_size)
        draw = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        embeds = (draw * EMBEDDING_SPREAD).astype(np.float16)
        # A token sees those before it alone: its logits are the same however many follow.
        expected = (
            _cpu_logits(self.weights.layout.sizes, host, embeds)
            if self.library is None
            else self._logits(self.library, decoder, embeds)
        )
        name, measure = ("CPU", np.mean) if self.library is None else ("library", np.max)
        tolerance = INT8_LOGIT_TOLERANCE if self.library is None else LOGIT_TOLERANCE
        for tokens in (1, *(rows for rows in ROWS[1:] if rows <= self.rows), *divided):
            first = self.rows if tokens > self.rows else 0
            ours = self._logits(self, decoder, embeds[:, :tokens])[first:]
            theirs = expected[first:tokens]
            with np.errstate(invalid="ignore"):
                difference = float(measure(np.abs(ours - theirs)) / measure(np.abs(theirs)))
            if not difference <= tolerance:  # NaN is no agreement either
                problem = f"its logits are {difference:.0%} from the {name}'s, {tokens} tokens"
                raise KernelError(problem, hint="report it, with the GPU's name")

    def _logits(
        self, graph: DeviceGraph, decoder: Decoder, embeds: NDArray[np.float16]
    ) -> NDArray[np.float32]:
        """Logits [T,V] of a graph for embeddings [1,T,D], behind an empty cache."""
        tokens = embeds.shape[1]
        capacity = self.cache_capacity or max(tokens, self.rows)
        cache = DeviceCache(self._device, decoder, "float16", 1, capacity)
        logits = DeviceArray.allocate((1, tokens, decoder.vocabulary_size), np.float32)
        positions = np.arange(tokens, dtype=np.int64)[None]
        inputs: dict[str, NDArray[Any]] = {
            "inputs_embeds": embeds,
            "position_ids": positions,
            "logit_rows": positions,
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
            result: NDArray[np.float32] = logits.download()[0]
        finally:
            bound.close()
        return result


class BoundDecoderStep:
    """See `c2t.runtime.engines.gpu.graph.BoundGraph`.

    Args:
        groups: What the kernel is started with, one after another.
        last_logit_rows: See `BoundGraph`.
    """

    def __init__(
        self,
        device: CudaDevice,
        weights: DeviceStepWeights,
        scratch: StepScratch,
        groups: Sequence[StepArguments],
        *,
        recordable: bool,
        last_logit_rows: bool,
    ) -> None:
        self._bound = device, weights, scratch
        self._groups = groups
        self.recordable = recordable
        self.last_logit_rows = last_logit_rows

    def enqueue(self) -> None:
        """Start the kernel on the device's stream, once for each group; does not wait."""
        for group in self._groups:
            launch_decoder_step(*self._bound, group)

    def close(self) -> None:
        """Do nothing: nothing is kept for it."""


def _arguments(tensors: Mapping[str, DeviceTensor]) -> StepArguments:
    """What the kernel is started with.

    All caches lie in one array [L,2,B,KV,C,head_size], so two addresses tell where the others are.
    """
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
    open_library: Callable[[], DeviceGraph],
    device: CudaDevice,
    folder: Path,
    decoder: Decoder,
    *,
    cuda_graph: bool,
    source: Path | None = None,
) -> tuple[DeviceGraph, str]:
    """Give a decoder's graph our kernel for its short steps, where the kernel can run them.

    Args:
        open_library: Opens the graph on the device. It is not called where the kernel runs
            everything.
        folder: Where the graph lies. `c2t build --target cuda` describes its weights there.
        decoder: Sizes, of the bundle's manifest.
        cuda_graph: See `DecoderStepGraph`.
        source: The decoder's graph of an INT8 bundle, whose weights the kernel streams; None: those
            that the folder describes.

    Returns:
        The graph, and who runs its steps, in words for the engine's label. Where the kernel does
        not work, the label says why and the library runs them: for instance where the GPU's memory
        cannot hold the weights twice.

    Raises:
        EngineError: The description of the weights or the graph is damaged, or the library cannot
            open the graph.
    """
    try:
        found = half_weights(folder, decoder) if source is None else int8_weights(source, folder)
        layout = None if found is None else StepLayout.of(*found)
    except (UnknownDecoderError, KernelError) as error:
        return open_library(), f"{WITHOUT}: {error.problem}"
    rows = 0 if layout is None else max_step_rows(device, layout)
    if found is None or layout is None or not rows:
        return open_library(), ""
    library = None if layout.has_int8 else open_library()

    def checked() -> DecoderStepGraph:
        dtypes = stored_dtypes(folder / "decoder.onnx") if library is None else library.dtypes
        weights = pack_decoder(device, layout, found[1])
        made = DecoderStepGraph(
            library, device, weights, dtypes=dtypes, rows=rows, cuda_graph=cuda_graph
        )
        made.check(decoder, found[1])
        return made

    try:
        made = checked()
    except C2TError as error:
        said = f"{WITHOUT}: {error.problem}"
    else:
        if library is None:
            said = f"steps and prompts are one kernel {INT8_PRODUCTS}, {rows} tokens at a time"
            return made, said
        return made, f"a short step (of up to {rows} tokens) is one kernel"
    # By now what the kernel had of the GPU's memory is free again.
    return open_library() if library is None else library, said


def _cpu_logits(
    sizes: StepSizes, host: HostDecoder, embeds: NDArray[np.float16]
) -> NDArray[np.float32]:
    """Logits [T,V] of the CPU's kernel for embeddings [1,T,D], behind an empty cache.

    Raises:
        KernelError: No kernel of ours runs on this CPU.
    """
    kernels = step_kernels()
    if kernels is None:
        problem = "no kernel of this CPU can be compared with it"
        raise KernelError(problem, hint="ONNX Runtime runs all steps")
    step = CpuDecoderStep(PackedDecoder(kernels, sizes, host))
    tokens = embeds.shape[1]
    every = np.arange(tokens)[None]
    cache = np.zeros((sizes.layers, 2, 1, sizes.kv_heads, tokens, sizes.head_size), np.float32)
    logits = np.empty((1, tokens, sizes.vocabulary_size), np.float32)
    try:
        step.run(
            embeds.astype(np.float32),
            cache,
            logits,
            positions=every,
            write_index=np.zeros(1, np.int64),
            logit_rows=every,
        )
    finally:
        step.close()
    result: NDArray[np.float32] = logits[0]
    return result
