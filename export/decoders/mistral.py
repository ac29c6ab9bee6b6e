"""Mistral decoders: a Llama whose rows see a window of positions, where the config has one."""

from functools import partial
from typing import Any

from transformers import MistralConfig, MistralForCausalLM
from transformers.models.mistral.modeling_mistral import MistralRotaryEmbedding

from c2t.export.decoders import rotary_config
from c2t.export.decoders.config_checks import (
    SILU,
    check_activation,
    check_heads,
    check_window,
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

# Not layer_types: transformers gives every layer of a Mistral the window, whatever they say.
SETTINGS = rotary_config.SETTINGS | {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "attention_dropout",
    "sliding_window",
}  # fmt: skip


def preset(*, window: int | None, theta: float) -> MistralConfig:
    """The config of a Mistral-7B."""
    return MistralConfig(
        vocab_size=32000,
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        max_position_embeddings=32768,
        rms_norm_eps=1e-5,
        rope_theta=theta,
        sliding_window=window,
        bos_token_id=None,
        eos_token_id=None,
    )


PRESETS = {
    "mistral-7b-v0.1": partial(preset, window=4096, theta=10000.0),
    "mistral-7b-v0.2": partial(preset, window=None, theta=1000000.0),
}


def check_config(config: MistralConfig) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation, window or rotary scheme, or impossible sizes.
    """
    check_activation(config, SILU, family="Mistral")
    check_heads(config)
    check_number(config, "rms_norm_eps", part="decoder")
    check_window(config)
    rotary_config.check_rope(config)


def translate(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of newer saves as those that are read here; see `translate_rope`."""
    return without_null(rotary_config.translate_rope(fields), "head_dim")


def restore_buffers(model: MistralForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.model.rotary_emb = MistralRotaryEmbedding(config=model.config)


def parts(model: MistralForCausalLM) -> DecoderParts:
    """What a Mistral is made of."""

    def layer(module: Any, _: int) -> Layer:
        return llama_layer(module, window=model.config.sliding_window)

    return llama_parts(model, layer=layer)


FAMILY = DecoderFamily(
    name="Mistral",
    config=MistralConfig,
    module=MistralForCausalLM,
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
