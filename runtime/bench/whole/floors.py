"""The least that each stage of a description could take on this machine.

One decision: two speeds are measured beside the work, reading memory and float32 products. A step
of the decoder cannot be quicker than its weights are read; a prompt and the encoder are compared
with the product rate. INT8 products may beat it: processors do up to four of them at a time.
"""

from __future__ import annotations

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.precision import Precision


def encoder_operations(bundle: Bundle, genes: int) -> float:
    """Multiplications and additions of the encoder and the projector for a cell of S genes."""
    manifest = bundle.manifest
    linears = 2.0 * _weights(bundle, "encoder.onnx.data") * genes
    # Scores and weighted sums: two products of [S, head_size] and [S, S] for each head.
    attention = 4.0 * manifest.encoder.layers_run * genes**2 * manifest.gene_input.hidden_size
    projector = 2.0 * _weights(bundle, "projector.onnx.data") * manifest.projector.vectors
    return linears + attention + projector


def prompt_operations(bundle: Bundle) -> float:
    """Those of the decoder for a cell's part of the prompt: its vectors and the suffix."""
    manifest = bundle.manifest
    tokens = manifest.projector.vectors + len(manifest.prompt.suffix_ids)
    head = manifest.decoder.vocabulary_size * manifest.decoder.hidden_size  # for one token only
    return 2.0 * tokens * (_weights(bundle, "decoder.onnx.data") - head)


def step_bytes(bundle: Bundle) -> int:
    """Bytes of weights that every step of the decoder reads."""
    return bundle.manifest.files["decoder.onnx.data"].bytes


def _weights(bundle: Bundle, file: str) -> float:
    bits = Precision(bundle.manifest.precision).weight_bits
    return 8.0 * bundle.manifest.files[file].bytes / bits
