"""The layers of an INT8 bundle's encoder on our own kernel, in place of ONNX Runtime's session.

One decision: the kernel is used only after it gave what ONNX Runtime gives for cells of the
bundle's own genes. Then the session, and its copy of the weights, are let go.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from c2t.kernels.encoder.cpu import CpuEncoder, PackedEncoder, encoder_kernels, encoder_problem
from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.cpu.agreement import rows_disagreement
from c2t.runtime.engines.cpu.session import RUN_HINT, is_prepacked
from c2t.runtime.engines.known_encoder.recognise import recognise_encoder
from c2t.runtime.engines.onnxruntime_library import onnxruntime_errors
from c2t.runtime.system.errors import BundleError, EngineError, first_line

# Norm of a row's difference from ONNX Runtime's, as a share of its norm: of the median row, and of
# the worst. Random weights of V2-104M's sizes gave 2.5 %, nearly all of it by INT8 attention; the
# wrong heads or a wrong layer would give more than 100 %.
TOLERANCES = 0.1, 0.5
CHECK_GENES = 150  # more than a tile of rows and than a block of keys, and no multiple of anything


class KernelLayers:
    """See `c2t.runtime.engines.cpu.encoder.Layers`."""

    def __init__(self, kernel: CpuEncoder) -> None:
        self._kernel = kernel

    def clone(self) -> KernelLayers:
        """See `Layers.clone`."""
        return KernelLayers(self._kernel.clone())

    def run(self, embeddings: Float32) -> Float32:
        """Run all layers.

        Raises:
            EngineError: There is no memory.
        """
        try:
            return self._kernel.run(embeddings)
        except MemoryError as error:
            problem = f"encoder failed on input {list(embeddings.shape)}: {error}"
            raise EngineError(problem, hint=RUN_HINT) from error


def open_kernel(bundle: Bundle, options: EngineOptions) -> tuple[CpuEncoder | None, str]:
    """Our kernel with an encoder's weights, where it can run them.

    Args:
        bundle: Its attention is INT8, see `choose_attention`.
        options: Threads.

    Returns:
        The kernel, not yet compared with anything; or None, and why in words ("": not wanted).
    """
    if not options.encoder_kernel:
        return None, ""
    path = bundle.file("encoder.onnx")
    if not is_prepacked(path, options):
        return None, "layers without our kernel: weights are not copied"
    kernels = encoder_kernels()
    if kernels is None:
        return None, "layers without our kernel: there is none for this processor"
    try:
        known = recognise_encoder(path)
        if problem := _differences(bundle, known.heads, known.hidden_size) or encoder_problem(
            known
        ):
            return None, f"layers without our kernel: {problem}"
        packed = PackedEncoder(kernels, known, threads=options.threads)
        return CpuEncoder(packed, threads=options.threads, spin=options.spin), ""
    except MemoryError:
        return None, "layers without our kernel: no memory for its copy of the weights"
    except (KernelError, BundleError) as error:
        return None, f"layers without our kernel: {error.problem}"


def disagreement(kernel: CpuEncoder, session: Any, bundle: Bundle) -> str:
    """How the kernel differs from ONNX Runtime on this machine; "" where it does not.

    Args:
        kernel: Of `open_kernel`.
        session: The encoder's `onnxruntime.InferenceSession`.
        bundle: Its gene embedding makes cells of random genes.

    Raises:
        EngineError: ONNX Runtime cannot run the encoder.
    """
    tables, sizes = bundle.gene_embedding_tables, bundle.manifest.gene_input
    genes = min(CHECK_GENES, sizes.input_size)
    tokens = np.random.default_rng(0).integers(0, sizes.vocabulary_size, (2, genes), np.int32)
    lengths = np.full(len(tokens), genes, np.int32)
    embeddings = np.empty((*tokens.shape, tables.hidden_size), np.float32)
    embed_genes(tokens, lengths, tables, embeddings)
    try:
        (theirs,) = session.run(["hidden"], {"embeddings": embeddings})
    except onnxruntime_errors() as error:
        problem = f"ONNX Runtime cannot run the encoder: {first_line(error)}"
        raise EngineError(problem, hint=RUN_HINT) from error
    try:
        ours = kernel.run(embeddings)
    except MemoryError:
        return "no memory for its activations"
    if ours.shape != theirs.shape:
        return f"it gives {list(ours.shape)}, ONNX Runtime {list(theirs.shape)}"
    return rows_disagreement(ours, theirs, TOLERANCES, what="hidden states", row="gene")


def _differences(bundle: Bundle, heads: int, hidden_size: int) -> str:
    """Where the graph's sizes are not the manifest's."""
    manifest = bundle.manifest
    for name, ours, theirs in (
        ("heads", heads, manifest.encoder.heads),
        ("hidden_size", hidden_size, manifest.gene_input.hidden_size),
    ):
        if ours != theirs:
            return f"the graph has {name} {ours}, the manifest {theirs}"
    return ""
