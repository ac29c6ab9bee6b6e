"""The decoder's steps from weights that `c2t build --target cpu` has packed.

One decision: the graph's nodes are compared as always, the weights are not read again. One step
shows that all is as it was when the weights were packed and compared with ONNX Runtime: its logits
must have the same bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.decoder_step.cpu import CpuDecoderStep
from c2t.kernels.decoder_step.packed_decoder import PackedDecoder
from c2t.kernels.errors import KernelError
from c2t.kernels.linears.stored import StoredArrays
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import DECODER_GRAPH
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.built.packed_weights import FoundPackedSet, digest_of_logits
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.kernel_step import KernelSteps
from c2t.runtime.engines.known_decoder.recognise import recognise_content
from c2t.runtime.system.errors import EngineError, first_line

STEP_TOKENS = 3


def open_stored_decoder(
    bundle: Bundle, found: FoundPackedSet, options: EngineOptions
) -> tuple[OnnxRuntimeDecoder, str]:
    """A decoder that runs from packed weights, where they lie.

    Args:
        bundle: Whose they are.
        found: The weights.
        options: Threads.

    Returns:
        The decoder, and who runs its steps, in words for the engine's label.

    Raises:
        EngineError: They are another decoder's, or a step has other bits than when they were made.
        BundleError: The graph is another one.
        MemoryError: There is no memory for the activations.
    """
    known = recognise_content(bundle.graph_alone(DECODER_GRAPH, shapes=True))
    record = found.record
    try:
        stored = StoredArrays(found.path, record.arrays, record.input_scales)
        packed = PackedDecoder(found.kernels, known.sizes, known.host(), stored=stored)
    except (KernelError, OSError) as error:
        problem = f"{found.path} cannot be used: {first_line(error)}"
        raise EngineError(problem, hint=found.hint) from error
    steps = KernelSteps(CpuDecoderStep(packed, threads=options.threads, spin=options.spin))
    decoder = OnnxRuntimeDecoder(
        _not_read(bundle), bundle.manifest.decoder, bundle.token_embedding, options, kernel=steps
    )
    if step_digest(decoder) != record.step_sha256:
        problem = f"{found.path} gives other numbers than when it was built"
        raise EngineError(problem, hint=found.hint)
    return decoder, f"every step is one kernel, with weights packed on {record.created[:10]}"


def step_digest(decoder: OnnxRuntimeDecoder) -> str:
    """SHA-256 of the logits of one step, which reads all weights.

    A single token would attend to itself alone, whatever its query and its key.
    """
    cache = decoder.new_cache(1, STEP_TOKENS)
    step = decoder.bind(cache, (0, 1), STEP_TOKENS, STEP_TOKENS)
    places = np.arange(STEP_TOKENS)
    step.token_ids[0] = len(decoder.token_embedding) * (1 + places) // (2 + STEP_TOKENS)
    step.position_ids[0] = places
    step.write_index[0] = 0
    step.logit_rows[0] = places
    logits: NDArray[Any] = np.ascontiguousarray(step.run())
    return digest_of_logits(logits.tobytes())


def _not_read(bundle: Bundle) -> Path:
    """Path of the graph, which no session opens."""
    return bundle.path / DECODER_GRAPH
