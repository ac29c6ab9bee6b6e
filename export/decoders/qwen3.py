"""Qwen3 decoders: a Llama that normalises queries and keys head by head before they are rotated."""

from functools import partial
from typing import Any

from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

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
    "attention_bias", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types",
}  # fmt: skip


def preset(
    *, layers: int, hidden_size: int, intermediate_size: int, vocabulary_size: int
) -> Qwen3Config:
    """The config of a small Qwen3 of these sizes."""
    return Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=intermediate_size,
        max_position_embeddings=40960,
        rope_theta=1000000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )


PRESETS = {
    "qwen3-0.6b": partial(
        preset, layers=28, hidden_size=1024, intermediate_size=3072, vocabulary_size=151936
    ),
    "qwen3-1.7b": partial(
        preset, layers=28, hidden_size=2048, intermediate_size=6144, vocabulary_size=151936
    ),
}


def check_config(config: Qwen3Config) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation, window or rotary scheme, or impossible sizes.
    """
    check_activation(config, SILU, family="Qwen3")
    check_heads(config)
    check_number(config, "rms_norm_eps", part="decoder")
    check_window(config)
    rotary_config.check_rope(config)


def translate(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of newer saves as those that are read here; see `translate_rope`."""
    return without_null(rotary_config.translate_rope(fields), "layer_types")


def restore_buffers(model: Qwen3ForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.model.rotary_emb = Qwen3RotaryEmbedding(config=model.config)


def parts(model: Qwen3ForCausalLM) -> DecoderParts:
    """What a Qwen3 is made of."""

    def layer(module: Any, index: int) -> Layer:
        return llama_layer(module, head_norms=True, window=window_of(model.config, index))

    return llama_parts(model, layer=layer)


FAMILY = DecoderFamily(
    name="Qwen3",
    config=Qwen3Config,
    module=Qwen3ForCausalLM,
    check_config=check_config,
    restore_buffers=restore_buffers,
    first_layer=FIRST_LAYER,
    tied_by_config=TIED_BY_CONFIG,
    tolerated_endings=TOLERATED_ENDINGS,
    settings=SETTINGS,
    neutral=rotary_config.WHOLE_HEADS,
    translate=translate,
    parts=parts,
    presets=PRESETS,
)
