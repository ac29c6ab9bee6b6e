"""Encoder and projector without a decoder: all that embedding and searching need, on the CPU.

One decision: a bundle's decoder is not opened for it, which would take most of the memory and time.
"""

from __future__ import annotations

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.engines.cpu.int8_attention import choose_attention
from c2t.runtime.engines.cpu.session import describe_settings
from c2t.runtime.system.timing import StageClock


def open_encoder(
    bundle: Bundle, options: EngineOptions, clock: StageClock | None = None
) -> tuple[OnnxRuntimeEncoder, str]:
    """Open the encoder and the projector of a bundle with ONNX Runtime on the CPU.

    Args:
        bundle: A bundle with an encoder.
        options: How to open them.
        clock: Records the stages embed, encoder and projector.

    Returns:
        The engine, and what reports call it.

    Raises:
        BundleError: The bundle has no encoder.
        EngineError: A graph cannot be opened.
    """
    attention = choose_attention(bundle, options)
    encoder = OnnxRuntimeEncoder(
        bundle.file("encoder.onnx"),
        bundle.file("projector.onnx"),
        bundle.gene_embedding_tables,
        options,
        clock,
        changed=attention.graph,
    )
    label = f"onnxruntime-cpu {describe_settings(options)['version']}"
    return encoder, f"{label} (attention {attention.said})" if attention.said else label
