"""Steps of the decoder on our own kernel, in place of ONNX Runtime's session.

One decision: the kernel runs all steps or none, prompts too. So what runs a token does not depend
on its draft or on other cells, and the kernel's numbers do not either: texts are the same whatever
the batch and the draft. It is used only after it gave what ONNX Runtime gives, which computes that
piece by piece: no session ever holds all weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.decoder_step.cpu import CpuDecoderStep, step_kernels
from c2t.kernels.decoder_step.packed_decoder import PackedDecoder, sizes_problem
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.errors import KernelError
from c2t.kernels.native import NativeKernels
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.buffers import StepShape
from c2t.runtime.engines.cpu.agreement import row_differences, rows_disagreement
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeCache, OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.host_step import HostStep
from c2t.runtime.engines.cpu.piecewise import Later, run_in_pieces
from c2t.runtime.engines.cpu.session import RUN_HINT, is_prepacked
from c2t.runtime.engines.cpu.sharing_cache import SharingCache
from c2t.runtime.engines.known_decoder.recognise import KnownDecoder, recognise_decoder
from c2t.runtime.system.errors import BundleError, EngineError
from c2t.runtime.system.machine import free_memory
from c2t.runtime.system.portable.memory import return_free_memory

# Norm of a token's difference from ONNX Runtime's logits, as a share of their norm: of the median
# token, and of the worst. float32 sums in another order gave 1e-6. In int8 such a difference can
# move an activation by a whole step, which then spreads, to later tokens too: most tokens do not
# differ by a bit, some by several percent, those of random weights by 11. A kernel that is wrong
# differs far more.
FLOAT_TOLERANCES, INT8_TOLERANCES = (1e-4, 1e-4), (0.2, 0.5)
# Of the numbers behind a piece of the graph, which gets what ONNX Runtime gave before. A piece of
# small layers holds several, and differences add up within it; a graph that is one piece has no
# layers compared at all, only its logits. Of 39 tokens through each of 16 layers of 1B sizes, three
# differed at all, by 0.7 % at most; one panel of 64 columns in one linear that is zero gives 0.9 to
# 5 %, of every token.
INT8_LAYER_TOLERANCES = 0.005, 0.1
# Of free memory, that the copy of a large graph's weights may take where nobody says so. ONNX
# Runtime would keep them in the file, and pack them again in every run.
LARGEST_SHARE = 0.5
# Tokens of steps one behind the other, which ONNX Runtime runs as one. Those of the first piece
# find a kernel that is wrong with some number of rows. The linears behind it have the same sizes:
# what is left to find there is a wrong weight, which is wrong of every token. So few will do, as
# many as make the kernel take its tiles.
CHECKED_TOKENS, LATER_TOKENS = (1, 5, 33), (7, 1)
LAYER_RESULT, PRODUCT, LOGITS = "layers.{}.mlp.residual", "output", "logits"


class KernelStep(HostStep):
    """A step on the kernel; see `c2t.runtime.engine_protocol.BoundStep`."""

    def __init__(
        self,
        kernel: CpuDecoderStep,
        decoder: OnnxRuntimeDecoder,
        cache: SharingCache,
        shape: StepShape,
    ) -> None:
        super().__init__(decoder, shape)
        self._sharing, self._first = cache.sharing, shape[0]
        capacity = cache.buffer.shape[4]
        # As numbers without a sign, one below zero is too large: one look finds both.
        self._bounds = [
            (what, numbers.view(np.uint64), end)
            for what, numbers, end in (
                ("position", self.position_ids, kernel.packed.positions),
                ("cache position", self.write_index, capacity - self.tokens + 1),
                ("logit row", self.logit_rows, self.tokens),
            )
            if numbers.size
        ]
        self._run = kernel.bind(
            self.inputs_embeds,
            cache.buffer,
            self.logits,
            positions=self.position_ids,
            write_index=self.write_index,
            logit_rows=self.logit_rows,
            first=shape[0],
            shared=cache.sharing.prefix,
        )

    def run_embedded(self) -> None:
        """See `HostStep.run_embedded`.

        Raises:
            EngineError: A position or a logit row that there is not, or no memory.
        """
        for what, numbers, end in self._bounds:
            if np.maximum.reduce(numbers, axis=None) >= end:
                tokens = self.tokens
                problem = f"a step of {tokens} tokens has a {what} outside 0 to {end - 1}"
                raise EngineError(problem, hint=RUN_HINT)
        self._sharing.own_written(self._first, self.write_index)
        try:
            self._run()
        except MemoryError as error:
            batch = len(self.write_index)
            problem = f"decoder failed on {batch} x {self.tokens} tokens: {error}"
            raise EngineError(problem, hint=RUN_HINT) from error


class KernelSteps:
    """See `c2t.runtime.engines.cpu.decoder.StepKernel`."""

    def __init__(self, kernel: CpuDecoderStep) -> None:
        self._kernel = kernel

    @property
    def packed(self) -> PackedDecoder:
        """The weights."""
        packed = self._kernel.packed
        assert isinstance(packed, PackedDecoder)
        return packed

    def bind(
        self, decoder: OnnxRuntimeDecoder, cache: OnnxRuntimeCache, shape: StepShape
    ) -> HostStep:
        """See `StepKernel.bind`."""
        if not isinstance(cache, SharingCache):
            message = f"a cache of another decoder: {type(cache).__name__}"
            raise TypeError(message)
        return KernelStep(self._kernel, decoder, cache, shape)

    def new_cache(self, sizes: Decoder, rows: int, capacity: int, positions: int) -> SharingCache:
        """See `StepKernel.new_cache`."""
        return SharingCache(sizes, rows, capacity, positions)

    def clone(self) -> KernelSteps:
        """See `StepKernel.clone`."""
        return KernelSteps(self._kernel.clone())


def open_decoder(
    path: Path, sizes: Decoder, token_embedding: NDArray[Any], options: EngineOptions
) -> tuple[OnnxRuntimeDecoder, str]:
    """Open a decoder on our kernel, or with ONNX Runtime where the kernel cannot run it.

    Args:
        path: Its graph.
        sizes: Of the bundle's manifest.
        token_embedding: Text token rows [V,D], indexed by rows only; any float dtype.
        options: How to open it.

    Returns:
        The decoder, and who runs its steps, in words for the engine's label; "" where no kernel was
        wanted.

    Raises:
        EngineError: ONNX Runtime cannot open the graph.
    """
    if not options.step_kernel:
        return OnnxRuntimeDecoder(path, sizes, token_embedding, options), ""
    try:
        decoder = _on_kernel(path, sizes, token_embedding, options)
    except _NotHereError as reason:
        problem = str(reason)
    except MemoryError:
        problem = "no memory for its copy of the weights"
    except (KernelError, BundleError, EngineError) as error:
        problem = error.problem
    else:
        return decoder, "every step is one kernel"
    decoder = OnnxRuntimeDecoder(path, sizes, token_embedding, options)
    return decoder, f"steps without our kernel: {problem}"


def _on_kernel(
    path: Path, sizes: Decoder, token_embedding: NDArray[Any], options: EngineOptions
) -> OnnxRuntimeDecoder:
    """A decoder on our kernel.

    Raises:
        _NotHereError: It cannot run here, or gives other numbers.
        KernelError: A matrix that the library does not take.
        BundleError: The graph is another one.
        EngineError: ONNX Runtime cannot run a piece of the graph.
        MemoryError: There is no memory for the weights.
    """
    kernels, known = _known(path, sizes, options)
    token_ids = _checked_tokens(len(token_embedding), len(known.values["rotary.cos"]))
    embeds = np.asarray(token_embedding[token_ids], np.float32)
    # One after the other: side by side, a piece's weights would lie in memory beside those that are
    # packed, which takes more than a tenth of the bundle beside it.
    expected = _reference(path, sizes, embeds, options)
    packed = PackedDecoder(kernels, known.sizes, known.host(), threads=options.threads)
    steps = KernelSteps(CpuDecoderStep(packed, threads=options.threads, spin=options.spin))

    def opened() -> OnnxRuntimeDecoder:
        return OnnxRuntimeDecoder(path, sizes, token_embedding, options, kernel=steps)

    tolerances = INT8_TOLERANCES if known.quantised else FLOAT_TOLERANCES
    of_layers = INT8_LAYER_TOLERANCES if known.quantised else FLOAT_TOLERANCES
    # Of a decoder of its own: the buffers of many logits go with it.
    if problem := _layers_disagreement(
        packed, embeds, expected, of_layers, options
    ) or _disagreement(opened(), token_ids, expected[LOGITS][0], tolerances):
        raise _NotHereError(problem)
    return opened()


class _NotHereError(Exception):
    """Why ONNX Runtime runs the steps."""


def _known(
    path: Path, sizes: Decoder, options: EngineOptions
) -> tuple[NativeKernels, KnownDecoder]:
    """The library, and the graph that it can run.

    Raises:
        _NotHereError: There is no such library, or it cannot run a decoder of these sizes.
        BundleError: The graph is another one.
    """
    problem = ""
    if not _may_copy(path, options):
        problem = "weights are not copied"
        raise _NotHereError(problem)
    kernels = step_kernels()
    if kernels is None:
        problem = "there is none for this processor"
        raise _NotHereError(problem)
    known = recognise_decoder(path)
    if problem := _differences(known.sizes, sizes) or sizes_problem(known.sizes):
        raise _NotHereError(problem)
    return kernels, known


def _may_copy(path: Path, options: EngineOptions) -> bool:
    """Whether the kernel may copy a graph's weights: the file's pages are let go for it."""
    if options.prepack is not None or is_prepacked(path, options):
        return is_prepacked(path, options)
    free = free_memory()
    weights = path.with_name(f"{path.name}.data").stat().st_size
    return free is not None and weights <= LARGEST_SHARE * free


def _differences(known: StepSizes, sizes: Decoder) -> str:
    """Where the graph's sizes are not the manifest's."""
    names = ("layers", "hidden_size", "heads", "kv_heads", "head_size", "vocabulary_size")
    for name in names:
        ours, theirs = getattr(known, name), getattr(sizes, name)
        if ours != theirs:
            return f"the graph has {name} {ours}, the manifest {theirs}"
    return ""


def _checked_tokens(vocabulary_size: int, positions: int) -> NDArray[np.int64]:
    """Text tokens [T] of the comparison."""
    longest = min(positions, sum(CHECKED_TOKENS))
    return np.random.default_rng(0).integers(0, vocabulary_size, longest)


def _reference(
    path: Path, sizes: Decoder, embeds: Float32, options: EngineOptions
) -> dict[str, Float32]:
    """What ONNX Runtime's pieces give for embedded tokens [T,D]: the last one logits [1,T,V].

    All pieces but the first are given `LATER_TOKENS` only.

    Raises:
        BundleError: The graph cannot be cut into pieces.
        EngineError: ONNX Runtime cannot run one.
    """
    few = min(len(embeds), sum(LATER_TOKENS))
    mapped = replace(options, prepack=False)
    results = [LAYER_RESULT.format(layer) for layer in range(sizes.layers)]
    return run_in_pieces(
        path,
        [*results, LOGITS],
        _inputs(sizes, embeds),
        mapped,
        later=Later(inputs=_inputs(sizes, embeds[:few]), tokens=few),
        product=PRODUCT,
    )


def _inputs(sizes: Decoder, embeds: Float32) -> dict[str, NDArray[Any]]:
    """Inputs of a decoder's graph for embedded tokens [T,D], without a past."""
    count = len(embeds)
    one_by_one = np.arange(count, dtype=np.int64)[None]
    empty = np.zeros((1, sizes.kv_heads, count, sizes.head_size), np.float32)
    given: dict[str, NDArray[Any]] = {
        "inputs_embeds": embeds[None],
        "position_ids": one_by_one,
        "write_index": np.zeros(1, np.int64),
        "kv_length": np.full(1, count, np.int64),
        "logit_rows": one_by_one,
    }
    for layer in range(sizes.layers):
        given |= {f"past_{part}.{layer}": empty for part in ("key", "value")}
    return given


def _layers_disagreement(
    packed: PackedDecoder,
    embeds: Float32,
    expected: dict[str, Float32],
    tolerances: tuple[float, float],
    options: EngineOptions,
) -> str:
    """How the kernel's layers differ, each given what ONNX Runtime's gave before it; "": not.

    Differences do not add up here. So a small fault of one layer is seen, which would be lost
    among those of all layers in the logits.
    """
    sizes = packed.sizes
    ends = {LAYER_RESULT.format(layer): layer + 1 for layer in range(sizes.layers)}
    before, first = embeds, 0
    if len(expected) == 1:  # one piece: the logits say it
        return ""
    for name, (value, *_) in expected.items():
        end, head, count = ends.get(name, sizes.layers), name == LOGITS, len(value)
        kernel = CpuDecoderStep(
            packed.part(first, end, head=head), threads=options.threads, spin=options.spin
        )
        shape = (max(1, end - first), 2, 1, sizes.kv_heads, count, sizes.head_size)
        cache, differences = np.zeros(shape, np.float32), list[float]()
        # Behind the first piece as one step: each streams all of the weights.
        for begin, stop in _checked_steps(count, CHECKED_TOKENS if first == 0 else (count,)):
            theirs = value[begin:stop]
            if not head:
                mean = np.square(theirs).mean(axis=-1, keepdims=True)
                theirs = theirs / np.sqrt(mean + packed.struct.epsilon)
            ours = np.empty((1, *theirs.shape), np.float32)
            kernel.run(
                np.ascontiguousarray(before[None, begin:stop]),
                cache,
                ours,
                positions=np.arange(begin, stop)[None],
                write_index=np.array([begin]),
                logit_rows=np.arange(stop - begin)[None],
            )
            differences += row_differences(ours[0], theirs)
        kernel.close()
        what = (
            f"numbers behind layers {first} to {end - 1}"
            if end > first
            else "logits behind the last layer"
        )
        if problem := rows_disagreement(differences, tolerances, what=what, row="token"):
            return problem
        before, first = value, end
    return ""


def _checked_steps(count: int, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First token and end of each step of the comparison; of `count` tokens in all."""
    ends = np.minimum(np.cumsum((0, *lengths)), count).tolist()
    return ((begin, end) for begin, end in itertools.pairwise(ends) if end > begin)


def _disagreement(
    decoder: OnnxRuntimeDecoder,
    token_ids: NDArray[np.int64],
    expected: Float32,
    tolerances: tuple[float, float],
) -> str:
    """How a kernel's logits differ from the expected ones [T,V]; "" where they do not."""
    return_free_memory()  # what comparing the layers took
    count = len(expected)
    cache = decoder.new_cache(1, count)
    differences = list[float]()
    few = sum(LATER_TOKENS)
    for begin, end in _checked_steps(count, CHECKED_TOKENS if count > few else LATER_TOKENS):
        tokens = end - begin
        step = decoder.bind(cache, (0, 1), tokens, tokens)
        step.token_ids[0] = token_ids[begin:end]
        step.position_ids[0] = np.arange(begin, end)
        step.write_index[0] = begin
        step.logit_rows[0] = np.arange(tokens)
        try:
            logits = step.run()[0]
        except EngineError as error:
            return error.problem
        differences += row_differences(logits, expected[begin:end])
    return rows_disagreement(differences, tolerances, what="logits", row="token")
