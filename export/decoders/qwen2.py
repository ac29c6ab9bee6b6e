"""Qwen2 and Qwen2.5 decoders: a Llama with biases on queries, keys and values."""

from functools import partial
from typing import Any

from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from c2t.export.decoders import rotary_config
from c2t.export.decoders.config_checks import (
    SILU,
    check_activation,
    check_heads,
    check_window,
    window_of,
    without_null,
)
from c2t.export.decoders.decoder_family import DecoderFamily
from c2t.export.decoders.llama_parts import (
    FIRST_LAYER,
    TIED_BY_CONFIG,
    TOLERATED_ENDINGS,
    llama_layer,
    llama_parts,
)
from c2t.export.decoders.parts import DecoderParts, Layer
from c2t.export.model.family import check_number

SETTINGS = rotary_config.SETTINGS | {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "attention_dropout",
    "use_sliding_window", "sliding_window", "max_window_layers", "layer_types",
}  # fmt: skip
# Of Qwen2-VL, whose text positions have three parts. The biases of attention are those of the
# weights: transformers reads no field for them.
NEUTRAL = rotary_config.WHOLE_HEADS | {"use_mrope": False, "attention_bias": True}


def preset(
    *,
    layers: int,
    hidden_size: int,
    heads: int,
    kv_heads: int,
    intermediate_size: int,
    vocabulary_size: int,
) -> Qwen2Config:
    """The config of a Qwen2.5 of these sizes."""
    return Qwen2Config(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=32768,
        rope_theta=1000000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )


PRESETS = {
    "qwen2.5-0.5b": partial(
        preset, layers=24, hidden_size=896, heads=14, kv_heads=2, intermediate_size=4864,
        vocabulary_size=151936,
    ),
    "qwen2.5-1.5b": partial(
        preset, layers=28, hidden_size=1536, heads=12, kv_heads=2, intermediate_size=8960,
        vocabulary_size=151936,
    ),
}  # fmt: skip


def check_config(config: Qwen2Config) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation, window or rotary scheme, or impossible sizes.
    """
    check_activation(config, SILU, family="Qwen2")
    check_heads(config)
    check_number(config, "rms_norm_eps", part="decoder")
    check_window(config)
    rotary_config.check_rope(config)


def translate(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of newer saves as those that are read here; see `translate_rope`."""
    return without_null(rotary_config.translate_rope(fields), "head_dim", "layer_types")


def restore_buffers(model: Qwen2ForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.model.rotary_emb = Qwen2RotaryEmbedding(config=model.config)


def parts(model: Qwen2ForCausalLM) -> DecoderParts:
    """What a Qwen2 is made of."""

    def layer(module: Any, index: int) -> Layer:
        return llama_layer(module, window=window_of(model.config, index))

    return llama_parts(model, layer=layer)


FAMILY = DecoderFamily(
    name="Qwen2",
    config=Qwen2Config,
    module=Qwen2ForCausalLM,
    check_config=check_config,
    restore_buffers=restore_buffers,
    first_layer=FIRST_LAYER,
    tied_by_config=TIED_BY_CONFIG,
    tolerated_endings=TOLERATED_ENDINGS,
    settings=SETTINGS,
    neutral=NEUTRAL,
    translate=translate,
    parts=parts,
    presets=PRESETS,
)
