"""Opening the engines of a bundle on the CPU: all of them, or only what makes cell vectors.

One decision: where only cells are embedded or searched, the decoder is not opened, which would take
most of the memory and time.
"""

from __future__ import annotations

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EncoderEngine, EngineOptions, Engines
from c2t.runtime.engines.built.packed_weights import find_packed_set
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.engines.cpu.int8_attention import choose_attention
from c2t.runtime.engines.cpu.kernel_encoder import KernelLayers, open_layers
from c2t.runtime.engines.cpu.kernel_step import open_decoder
from c2t.runtime.engines.cpu.session import describe_settings
from c2t.runtime.engines.cpu.stored_step import open_stored_decoder
from c2t.runtime.engines.no_encoder import NoEncoder
from c2t.runtime.system.portable.memory import return_free_memory
from c2t.runtime.system.timing import StageClock


def open_engines(
    bundle: Bundle, options: EngineOptions, clock: StageClock | None = None
) -> Engines:
    """Open the graphs of a bundle on the CPU.

    Args:
        bundle: Any.
        options: How to open them.
        clock: Records the stages embed, encoder and projector.

    Raises:
        EngineError: A graph cannot be opened.
    """
    settings = describe_settings(options)
    # Kept by the bundle. To read it takes some 50 MB for a moment: before the weights are there.
    _ = bundle.tokenizer
    encoder: EncoderEngine = NoEncoder()
    if bundle.manifest.has_encoder:
        encoder, said = _open_encoder(bundle, options, clock)
        settings |= said
    decoder, steps = _open_decoder(bundle, options)
    if steps:
        settings["steps"] = steps
    return_free_memory()
    return Engines(name="onnxruntime-cpu", encoder=encoder, decoder=decoder, settings=settings)


def _open_decoder(bundle: Bundle, options: EngineOptions) -> tuple[OnnxRuntimeDecoder, str]:
    """A decoder, from packed weights where they were built; and what is said of it."""
    if options.step_kernel and options.prepack is not False:
        found = find_packed_set(bundle)
        if found is not None:
            return open_stored_decoder(bundle, found, options)
    path, sizes = bundle.file("decoder.onnx"), bundle.manifest.decoder
    return open_decoder(path, sizes, bundle.token_embedding, options)


def open_encoder(
    bundle: Bundle, options: EngineOptions, clock: StageClock | None = None
) -> tuple[OnnxRuntimeEncoder, str]:
    """Open the encoder and the projector of a bundle on the CPU, without its decoder.

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
    encoder, said = _open_encoder(bundle, options, clock)
    label = f"onnxruntime-cpu {describe_settings(options)['version']}"
    if not said:
        return encoder, label
    return encoder, f"{label} ({', '.join(f'{name} {words}' for name, words in said.items())})"


def _open_encoder(
    bundle: Bundle, options: EngineOptions, clock: StageClock | None
) -> tuple[OnnxRuntimeEncoder, dict[str, str]]:
    """An encoder, on our kernel where that gives ONNX Runtime's numbers; and what is said of it."""
    attention = choose_attention(bundle, options)
    said = {"attention": attention.said} if attention.said else {}
    layers: KernelLayers | None = None
    # Without that graph, the kernel's attention is the one that was not right here.
    if attention.graph is not None:
        layers, words = open_layers(bundle, attention.graph, options)
        said |= {"encoder": words} if words else {}
    encoder = OnnxRuntimeEncoder(
        bundle.file("encoder.onnx"),
        bundle.file("projector.onnx"),
        bundle.gene_embedding_tables,
        options,
        clock,
        changed=attention.graph,
        layers=layers,
    )
    return encoder, said
