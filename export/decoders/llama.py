"""Llama decoders: which configs are taken, and published sizes."""

from functools import partial
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from c2t.export.decoders import rotary_config
from c2t.export.decoders.config_checks import SILU, check_activation, check_heads
from c2t.export.decoders.decoder_family import DecoderFamily
from c2t.export.decoders.llama_parts import (
    FIRST_LAYER,
    TIED_BY_CONFIG,
    TOLERATED_ENDINGS,
    llama_layer,
    llama_parts,
)
from c2t.export.decoders.parts import DecoderParts
from c2t.export.model.family import check_number

# Fields of config.json that are read, or that matter in training only.
SETTINGS = rotary_config.SETTINGS | {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "rms_norm_eps", "attention_bias", "mlp_bias", "head_dim",
    "attention_dropout",
    "pretraining_tp",  # how a product is split, not what it is
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def preset(
    *,
    layers: int,
    hidden_size: int,
    heads: int,
    kv_heads: int,
    head_size: int,
    intermediate_size: int,
    vocabulary_size: int,
) -> LlamaConfig:
    """The config of a Llama 3.2 of these sizes."""
    return LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_size,
        intermediate_size=intermediate_size,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        rope_scaling=dict(LLAMA3_ROPE),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )


# The published sizes, and a tiny one with the same structure.
PRESETS = {
    "llama-3.2-1b": partial(
        preset, layers=16, hidden_size=2048, heads=32, kv_heads=8, head_size=64,
        intermediate_size=8192, vocabulary_size=128256,
    ),
    "llama-3.2-3b": partial(
        preset, layers=28, hidden_size=3072, heads=24, kv_heads=8, head_size=128,
        intermediate_size=8192, vocabulary_size=128256,
    ),
    "llama-tiny": partial(
        preset, layers=4, hidden_size=128, heads=4, kv_heads=2, head_size=32,
        intermediate_size=256, vocabulary_size=1024,
    ),
}  # fmt: skip


def check_config(config: LlamaConfig) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation or rotary scheme, or impossible sizes.
    """
    check_activation(config, SILU, family="Llama")
    check_heads(config)
    check_number(config, "rms_norm_eps", part="decoder")
    rotary_config.check_rope(config)


def restore_buffers(model: LlamaForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.model.rotary_emb = LlamaRotaryEmbedding(config=model.config)


def parts(model: LlamaForCausalLM) -> DecoderParts:
    """What a Llama is made of."""

    def layer(module: Any, _: int) -> Any:
        return llama_layer(module)

    return llama_parts(model, layer=layer)


FAMILY = DecoderFamily(
    name="Llama",
    config=LlamaConfig,
    module=LlamaForCausalLM,
    check_config=check_config,
    restore_buffers=restore_buffers,
    first_layer=FIRST_LAYER,
    tied_by_config=TIED_BY_CONFIG,
    tolerated_endings=TOLERATED_ENDINGS,
    settings=SETTINGS,
    neutral=rotary_config.WHOLE_HEADS,
    translate=rotary_config.translate_rope,
    parts=parts,
    presets=PRESETS,
)
write_decoder_graph = FAMILY.write_graph
