"""Short steps of the decoder on our own kernel, and who runs which step.

One decision: a step is the kernel's up to 32 tokens of each cell before the first that wants
logits; drafts behind that are the kernel's too. A longer prompt is ONNX Runtime's, which is mostly
arithmetic, and without the draft behind it. So what runs a token does not depend on its draft or on
other cells, and the kernel's numbers do not either: texts are the same whatever the batch and the
draft. Both use the same cache.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2t.kernels.decoder_step.cpu import (
    MAX_ROWS,
    CpuDecoderStep,
    PackedDecoder,
    sizes_problem,
    step_kernels,
)
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.errors import KernelError
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.buffers import StepShape
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeCache, OnnxRuntimeDecoder, OnnxRuntimeStep
from c2t.runtime.engines.cpu.host_step import HostStep
from c2t.runtime.engines.cpu.session import RUN_HINT, is_prepacked
from c2t.runtime.engines.known_decoder.recognise import recognise_decoder
from c2t.runtime.system.errors import C2TError, EngineError

# Norm of a token's difference from ONNX Runtime's logits, as a share of their norm: of the median
# token, and of the worst. float32 sums in another order gave 1e-6. In int8 such a difference can
# move an activation by a whole step, which then spreads: most tokens do not differ by a bit, some
# by several percent. A kernel that is wrong differs far more.
FLOAT_TOLERANCES, INT8_TOLERANCES = (1e-4, 1e-4), (0.1, 0.5)
CHECKED_TOKENS = (1, 5, MAX_ROWS + 1)  # the last one takes two parts


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
        """See `HostStep.run_embedded`."""
        self.run_from(0, 0)

    def run_from(self, token: int, logit_row: int) -> None:
        """Run the tokens from `token` on, for the logit rows from `logit_row` on.

        Raises:
            EngineError: A position or a logit row that there is not, or no memory.
        """
        part = slice(token, None)
        positions, logit_rows = self.position_ids[:, part], self.logit_rows[:, logit_row:] - token
        tokens, capacity = self.tokens, self._cache.shape[4]
        for what, numbers, least, end in (
            ("position", positions, 0, self._kernel.packed.positions),
            ("cache position", self.write_index, 0, capacity - tokens + 1),
            ("logit row", logit_rows, 0, tokens - token),
        ):
            if numbers.size and not (numbers.min() >= least and numbers.max() < end):
                problem = f"a step of {tokens} tokens has a {what} outside {least} to {end - 1}"
                raise EngineError(problem, hint=RUN_HINT)
        try:
            self._kernel.run(
                self.inputs_embeds[:, part],
                self._cache,
                self.logits[:, logit_row:],
                positions=positions,
                write_index=self.write_index + token,
                logit_rows=logit_rows,
                first=self._first,
            )
        except (MemoryError, KernelError) as error:
            batch = len(self.write_index)
            problem = f"decoder failed on {batch} x {tokens} tokens: {error}"
            raise EngineError(problem, hint=RUN_HINT) from error


class PromptedStep(KernelStep):
    """A prompt of one cell, which ONNX Runtime runs, and a draft behind it."""

    def __init__(
        self,
        kernel: CpuDecoderStep,
        decoder: OnnxRuntimeDecoder,
        cache: OnnxRuntimeCache,
        shape: StepShape,
    ) -> None:
        super().__init__(kernel, decoder, cache, shape)
        first, end, tokens, logit_rows = shape
        self._prompt_tokens = tokens - logit_rows + 1
        self._prompt = OnnxRuntimeStep(decoder, cache, (first, end, self._prompt_tokens, 1))

    def run_embedded(self) -> None:
        """See `HostStep.run_embedded`.

        Raises:
            EngineError: Other logits are wanted than those of the last tokens.
        """
        count = self._prompt_tokens
        if not np.array_equal(self.logit_rows[0], np.arange(count - 1, self.tokens)):
            problem = f"logits of other tokens than the last {self.logit_rows.size} of a prompt"
            raise EngineError(problem, hint=RUN_HINT)
        prompt = self._prompt
        prompt.position_ids[:] = self.position_ids[:, :count]
        prompt.write_index[:] = self.write_index
        prompt.logit_rows[:] = count - 1
        prompt.run_embedded()  # its embeddings and logits are the first of this step's
        self.run_from(count, 1)


class KernelSteps:
    """See `c2t.runtime.engines.cpu.decoder.StepKernel`."""

    def __init__(self, kernel: CpuDecoderStep) -> None:
        self._kernel = kernel

    def bind(
        self, decoder: OnnxRuntimeDecoder, cache: OnnxRuntimeCache, shape: StepShape
    ) -> HostStep:
        """See `StepKernel.bind`."""
        first, end, tokens, logit_rows = shape
        if tokens - logit_rows < MAX_ROWS:
            return KernelStep(self._kernel, decoder, cache, shape)
        if logit_rows > 1 and end - first == 1:
            return PromptedStep(self._kernel, decoder, cache, shape)
        return OnnxRuntimeStep(decoder, cache, shape)

    def clone(self) -> KernelSteps:
        """See `StepKernel.clone`."""
        return KernelSteps(self._kernel.clone())


def with_step_kernel(
    decoder: OnnxRuntimeDecoder, path: Path, sizes: Decoder, options: EngineOptions
) -> str:
    """Give a decoder our kernel for its short steps, where the kernel can run them.

    Args:
        decoder: Opened by ONNX Runtime; changed in place.
        path: Its graph.
        sizes: Of the bundle's manifest.
        options: How it was opened.

    Returns:
        Who runs its short steps, in words for the engine's label; "" where none was wanted.

    Raises:
        EngineError: ONNX Runtime cannot run a step of this decoder.
    """
    if not options.step_kernel:
        return ""
    if not is_prepacked(path, options):
        return "short steps without our kernel: weights are not copied"
    kernels = step_kernels()
    if kernels is None:
        return "short steps without our kernel: there is none for this processor"
    try:
        known = recognise_decoder(path)
        if problem := _differences(known.sizes, sizes) or sizes_problem(known.sizes):
            return f"short steps without our kernel: {problem}"
        packed = PackedDecoder(kernels, known.sizes, known.host(), threads=options.threads)
        kernel = CpuDecoderStep(packed, threads=options.threads, spin=options.spin)
    except MemoryError:
        return "short steps without our kernel: no memory for its copy of the weights"
    except C2TError as error:
        return f"short steps without our kernel: {error.problem}"
    tolerances = INT8_TOLERANCES if known.quantised else FLOAT_TOLERANCES
    if problem := _disagreement(kernel, decoder, tolerances):
        kernel.close()
        return f"short steps without our kernel: {problem}"

    decoder.kernel = KernelSteps(kernel)
    return "a short step is one kernel"


def _differences(known: StepSizes, sizes: Decoder) -> str:
    """Where the graph's sizes are not the manifest's."""
    names = ("layers", "hidden_size", "heads", "kv_heads", "head_size", "vocabulary_size")
    for name in names:
        ours, theirs = getattr(known, name), getattr(sizes, name)
        if ours != theirs:
            return f"the graph has {name} {ours}, the manifest {theirs}"
    return ""


def _disagreement(
    kernel: CpuDecoderStep, decoder: OnnxRuntimeDecoder, tolerances: tuple[float, float]
) -> str:
    """How the kernel differs from ONNX Runtime on this machine; "" where it does not.

    Raises:
        EngineError: ONNX Runtime cannot run a step.
    """
    draw = np.random.default_rng(0)
    longest = min(kernel.packed.positions, sum(CHECKED_TOKENS))
    rows = draw.integers(0, len(decoder.token_embedding), longest)
    caches = decoder.new_cache(1, longest), decoder.new_cache(1, longest)
    differences: list[float] = []
    for tokens in CHECKED_TOKENS:
        at = len(differences)
        count = min(tokens, longest - at)
        if not count:
            break
        shape = (0, 1, count, count)
        theirs, ours = (
            _logits(step, rows[at : at + count], at)
            for step in (
                OnnxRuntimeStep(decoder, caches[0], shape),
                KernelStep(kernel, decoder, caches[1], shape),
            )
        )
        norms = np.linalg.norm(theirs, axis=1)
        differences += (np.linalg.norm(ours - theirs, axis=1) / norms).tolist()
    for found, most, which in zip(
        (np.median(differences), np.max(differences)), tolerances, ("median", "worst"), strict=True
    ):
        if not found <= most:  # NaN is no agreement either
            return f"its logits are {found:.2%} from ONNX Runtime's, of the {which} token"
    return ""


def _logits(step: HostStep, token_ids: np.ndarray, first: int) -> Float32:
    """Logits [T,V] of text tokens [T] from a cache position on."""
    step.token_ids[0] = token_ids
    step.position_ids[0] = np.arange(first, first + len(token_ids))
    step.write_index[0] = first
    step.logit_rows[0] = np.arange(len(token_ids))
    logits: Float32 = step.run()[0].copy()
    return logits
