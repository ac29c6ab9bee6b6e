"""Gemma-2 decoders: four norms a layer, capped attention and logits, windows on every other layer.

A norm multiplies by its weight + 1, and input rows by the square root of their width: the rows of
the token table and the cell vectors alike, so the graph does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM
from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding

from c2t.export.decoders import rotary_config
from c2t.export.decoders.config_checks import (
    GELU_TANH,
    check_activation,
    check_heads,
    check_window,
    window_of,
    without_null,
)
from c2t.export.decoders.decoder_family import DecoderFamily, plain_logits
from c2t.export.decoders.llama_parts import (
    FIRST_LAYER,
    TIED_BY_CONFIG,
    TOLERATED_ENDINGS,
    matrix,
)
from c2t.export.decoders.parts import Attention, DecoderParts, Layer, Mlp, Norm, sizes_of
from c2t.export.model.family import check_number

SETTINGS = rotary_config.SETTINGS | {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_activation", "rms_norm_eps", "attention_bias",
    "attention_dropout", "query_pre_attn_scalar", "sliding_window", "layer_types",
    "attn_logit_softcapping", "final_logit_softcapping",
    "cache_implementation",  # how `generate` keeps keys and values
}  # fmt: skip
# transformers reads hidden_activation only; published configs have both.
NEUTRAL = rotary_config.WHOLE_HEADS | {
    "hidden_act": "gelu_pytorch_tanh",
    "use_bidirectional_attention": False,
}


def preset(
    *, layers: int, hidden_size: int, heads: int, kv_heads: int, intermediate_size: int
) -> Gemma2Config:
    """The config of a Gemma-2 of these sizes."""
    return Gemma2Config(
        vocab_size=256000,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate_size,
        bos_token_id=None,
        eos_token_id=None,
    )


PRESETS = {
    "gemma-2-tiny": partial(
        preset, layers=2, hidden_size=64, heads=4, kv_heads=2, intermediate_size=256
    ),
    "gemma-2-2b": partial(
        preset, layers=26, hidden_size=2304, heads=8, kv_heads=4, intermediate_size=9216
    ),
}


def check_config(config: Gemma2Config) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation, window or rotary scheme, or impossible sizes.
    """
    check_activation(config, GELU_TANH, family="Gemma-2", name="hidden_activation")
    check_heads(config)
    caps = [
        name
        for name in ("attn_logit_softcapping", "final_logit_softcapping")
        if getattr(config, name) is not None
    ]
    for name in ("rms_norm_eps", "query_pre_attn_scalar", *caps):
        check_number(config, name, part="decoder")
    check_window(config)
    rotary_config.check_rope(config)


def translate(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of newer saves as those that are read here; see `translate_rope`."""
    return without_null(rotary_config.translate_rope(fields), "head_dim", "layer_types")


def restore_buffers(model: Gemma2ForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold.

    PyTorch's own attention has no cap, and transformers leaves it out there without a word.
    """
    model.set_attn_implementation("eager")
    model.model.rotary_emb = Gemma2RotaryEmbedding(config=model.config)


def parts(model: Gemma2ForCausalLM) -> DecoderParts:
    """What a Gemma-2 is made of."""
    inner, config = model.model, model.config

    def layers() -> Iterator[Layer]:
        for index, module in enumerate(inner.layers):
            yield _layer(module, window=window_of(config, index))

    return DecoderParts(
        sizes=sizes_of(config),
        rotary=inner.rotary_emb,
        layers=layers(),
        norm=_norm(inner.norm),
        token_table=inner.embed_tokens.weight,
        output_table=model.lm_head.weight,
        embedding_scale=float(config.hidden_size) ** 0.5,
        logit_cap=float(config.final_logit_softcapping or 0.0),
    )


def logits(model: Gemma2ForCausalLM, hidden: Tensor) -> Tensor:
    """Capped logits of rows behind the last norm."""
    plain, cap = plain_logits(model, hidden), model.config.final_logit_softcapping
    return plain if cap is None else (plain / cap).tanh() * cap


def _layer(module: Any, *, window: int | None) -> Layer:
    own, mlp = module.self_attn, module.mlp
    return Layer(
        attention=Attention(
            q=matrix(own.q_proj),
            k=matrix(own.k_proj),
            v=matrix(own.v_proj),
            output=matrix(own.o_proj),
            scale=float(own.scaling),
            softcap=float(own.attn_logit_softcapping or 0.0),
            window=window,
        ),
        attention_norm=_norm(module.input_layernorm),
        after_attention=_norm(module.post_attention_layernorm),
        mlp=Mlp(
            gate=matrix(mlp.gate_proj),
            up=matrix(mlp.up_proj),
            down=matrix(mlp.down_proj),
            activation="gelu_tanh",
        ),
        mlp_norm=_norm(module.pre_feedforward_layernorm),
        after_mlp=_norm(module.post_feedforward_layernorm),
    )


def _norm(module: Any) -> Norm:
    return Norm(weight=1.0 + module.weight.float(), epsilon=float(module.eps))


FAMILY = DecoderFamily(
    name="Gemma-2",
    config=Gemma2Config,
    module=Gemma2ForCausalLM,
    check_config=check_config,
    restore_buffers=restore_buffers,
    first_layer=FIRST_LAYER,
    tied_by_config=TIED_BY_CONFIG,
    tolerated_endings=TOLERATED_ENDINGS,
    settings=SETTINGS,
    neutral=NEUTRAL,
    norm_weight=0.0,
    translate=translate,
    parts=parts,
    logits=logits,
    presets=PRESETS,
)
