"""A decoder's weights on the host, as the GPU's step kernel is given them."""

from __future__ import annotations

from pathlib import Path

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engines.built.step_weights import (
    DESCRIPTION_NAME,
    FINAL_NORM,
    ROTARY,
    load_step_weights,
    map_matrix,
    norm_names,
)
from c2t.runtime.engines.gpu.onnxruntime_graph import stored_dtypes
from c2t.runtime.engines.known_decoder.recognise import recognise_decoder


def int8_weights(source: Path, folder: Path) -> tuple[StepSizes, HostDecoder] | None:
    """Sizes and weights of an INT8 bundle's decoder; its matrices stay mapped.

    Args:
        source: Its graph in the bundle.
        folder: Where its half-precision graph lies; None is returned if that is not in float16.

    Raises:
        UnknownDecoderError: The kernel would compute the decoder wrongly.
        EngineError: The half-precision graph is damaged.
    """
    if stored_dtypes(folder / "decoder.onnx")["inputs_embeds"] != "float16":
        return None
    known = recognise_decoder(source)
    return known.sizes, known.host()


def half_weights(folder: Path, decoder: Decoder) -> tuple[StepSizes, HostDecoder] | None:
    """Sizes and float16 weights that half-precision graphs describe; None without them.

    Raises:
        EngineError: The description of the weights is damaged.
    """
    if not (folder / DESCRIPTION_NAME).is_file():
        return None
    weights, small = load_step_weights(folder, decoder)
    if weights.logits.dtype != "float16":
        return None
    sizes = StepSizes(
        layers=decoder.layers,
        hidden_size=decoder.hidden_size,
        intermediate_size=weights.layers[0].down.shape[0],
        heads=decoder.heads,
        kv_heads=decoder.kv_heads,
        head_size=decoder.head_size,
        vocabulary_size=decoder.vocabulary_size,
    )
    norms = [[small[name] for name in norm_names(layer)] for layer in range(decoder.layers)]
    host = HostDecoder(
        layers=[
            HostLayer(
                attention_norm=attention_norm,
                qkv=map_matrix(folder, layer.qkv),
                o=map_matrix(folder, layer.output),
                mlp_norm=mlp_norm,
                gate_up=map_matrix(folder, layer.gate_up),
                down=map_matrix(folder, layer.down),
            )
            for layer, (attention_norm, mlp_norm) in zip(weights.layers, norms, strict=True)
        ],
        norm=small[FINAL_NORM],
        lm_head=map_matrix(folder, weights.logits),
        cosines=small[ROTARY[0]],
        sines=small[ROTARY[1]],
        epsilon=weights.epsilon,
        scale=weights.attention_scale,
    )
    return sizes, host
