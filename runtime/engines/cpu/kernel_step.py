"""Steps of the decoder on our own kernel, in place of ONNX Runtime's session.

One decision: the kernel runs all steps or none, prompts too. So what runs a token does not depend
on its draft or on other cells, and the kernel's numbers do not either: texts are the same whatever
the batch and the draft. It is used only after it gave what ONNX Runtime gives, which computes that
piece by piece: no session ever holds all weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.decoder_step.cpu import (
    CpuDecoderStep,
    PackedDecoder,
    sizes_problem,
    step_kernels,
)
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.errors import KernelError
from c2t.kernels.native import NativeKernels
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.buffers import StepShape
from c2t.runtime.engines.cpu.agreement import row_differences, rows_disagreement
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeCache, OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.host_step import HostStep
from c2t.runtime.engines.cpu.piecewise import run_in_pieces
from c2t.runtime.engines.cpu.session import RUN_HINT, is_prepacked
from c2t.runtime.engines.known_decoder.recognise import KnownDecoder, recognise_decoder
from c2t.runtime.system.errors import BundleError, EngineError

# Norm of a token's difference from ONNX Runtime's logits, as a share of their norm: of the median
# token, and of the worst. float32 sums in another order gave 1e-6. In int8 such a difference can
# move an activation by a whole step, which then spreads, to later tokens too: most tokens do not
# differ by a bit, some by several percent, those of random weights by 11. A kernel that is wrong
# differs far more.
FLOAT_TOLERANCES, INT8_TOLERANCES = (1e-4, 1e-4), (0.2, 0.5)
CHECKED_TOKENS = (1, 5, 33)  # of steps one behind the other, which ONNX Runtime runs as one
LAYER_RESULT = "layers.{}.mlp.residual"


class KernelStep(HostStep):
    """A step on the kernel; see `c2t.runtime.engine_protocol.BoundStep`."""

    def __init__(
        self,
        kernel: CpuDecoderStep,
        decoder: OnnxRuntimeDecoder,
        cache: OnnxRuntimeCache,
        shape: StepShape,
    ) -> None:
        super().__init__(decoder, shape)
        self._kernel = kernel
        self._cache = cache.buffer
        self._first = shape[0]

    def run_embedded(self) -> None:
        """See `HostStep.run_embedded`.

        Raises:
            EngineError: A position or a logit row that there is not, or no memory.
        """
        tokens, capacity = self.tokens, self._cache.shape[4]
        for what, numbers, least, end in (
            ("position", self.position_ids, 0, self._kernel.packed.positions),
            ("cache position", self.write_index, 0, capacity - tokens + 1),
            ("logit row", self.logit_rows, 0, tokens),
        ):
            if numbers.size and not (numbers.min() >= least and numbers.max() < end):
                problem = f"a step of {tokens} tokens has a {what} outside {least} to {end - 1}"
                raise EngineError(problem, hint=RUN_HINT)
        try:
            self._kernel.run(
                self.inputs_embeds,
                self._cache,
                self.logits,
                positions=self.position_ids,
                write_index=self.write_index,
                logit_rows=self.logit_rows,
                first=self._first,
            )
        except MemoryError as error:
            batch = len(self.write_index)
            problem = f"decoder failed on {batch} x {tokens} tokens: {error}"
            raise EngineError(problem, hint=RUN_HINT) from error


class KernelSteps:
    """See `c2t.runtime.engines.cpu.decoder.StepKernel`."""

    def __init__(self, kernel: CpuDecoderStep) -> None:
        self._kernel = kernel

    def bind(
        self, decoder: OnnxRuntimeDecoder, cache: OnnxRuntimeCache, shape: StepShape
    ) -> HostStep:
        """See `StepKernel.bind`."""
        return KernelStep(self._kernel, decoder, cache, shape)

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
    # Before the kernel's copy of the weights is there, so that they never lie in memory twice.
    expected = _reference(path, sizes, np.asarray(token_embedding[token_ids], np.float32), options)
    packed = PackedDecoder(kernels, known.sizes, known.host(), threads=options.threads)
    steps = KernelSteps(CpuDecoderStep(packed, threads=options.threads, spin=options.spin))

    def opened() -> OnnxRuntimeDecoder:
        return OnnxRuntimeDecoder(path, sizes, token_embedding, options, kernel=steps)

    tolerances = INT8_TOLERANCES if known.quantised else FLOAT_TOLERANCES
    # Of a decoder of its own: the buffers of many logits go with it.
    if problem := _disagreement(opened(), token_ids, expected, tolerances):
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
    if not is_prepacked(path, options):
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


def _reference(path: Path, sizes: Decoder, embeds: Float32, options: EngineOptions) -> Float32:
    """ONNX Runtime's logits [T,V] of embedded tokens [T,D].

    Raises:
        BundleError: The graph cannot be cut into pieces.
        EngineError: ONNX Runtime cannot run one.
    """
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
    results = [LAYER_RESULT.format(layer) for layer in range(sizes.layers)]
    mapped = replace(options, prepack=False)
    logits: Float32 = run_in_pieces(path, [*results, "logits"], given, mapped)[0]
    return logits


def _disagreement(
    decoder: OnnxRuntimeDecoder,
    token_ids: NDArray[np.int64],
    expected: Float32,
    tolerances: tuple[float, float],
) -> str:
    """How a kernel's logits differ from the expected ones [T,V]; "" where they do not."""
    count = len(token_ids)
    cache = decoder.new_cache(1, count)
    differences = list[float]()
    for tokens, at in zip(CHECKED_TOKENS, np.cumsum((0, *CHECKED_TOKENS)).tolist(), strict=False):
        if (some := min(tokens, count - at)) > 0:
            step = decoder.bind(cache, (0, 1), some, some)
            step.token_ids[0] = token_ids[at : at + some]
            step.position_ids[0] = np.arange(at, at + some)
            step.write_index[0] = at
            step.logit_rows[0] = np.arange(some)
            try:
                logits = step.run()[0]
            except EngineError as error:
                return error.problem
            differences += row_differences(logits, expected[at : at + some])
    return rows_disagreement(differences, tolerances, what="logits", row="token")
