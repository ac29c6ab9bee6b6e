"""Phi-3 decoders: a Llama whose weights are stored packed, and that may rotate a part of each head.

Long-context variants are refused: their rotary angles (longrope) depend on the length of the text.
"""

from functools import partial
from typing import Any

from torch import nn
from transformers import Phi3Config, Phi3ForCausalLM
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

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
    llama_parts,
    matrix,
    rms_norm,
)
from c2t.export.decoders.parts import (
    Attention,
    DecoderParts,
    DecoderSizes,
    Layer,
    Matrix,
    Mlp,
    sizes_of,
)
from c2t.export.model.family import check_number

SETTINGS = rotary_config.SETTINGS | {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "attention_dropout",
    "resid_pdrop", "embd_pdrop", "sliding_window", "partial_rotary_factor",
    "original_max_position_embeddings",  # read with longrope only
    "pad_token_id",
}  # fmt: skip
# No Phi-3 has biases, and transformers reads no field for them.
NEUTRAL = {"rotary_pct": 1.0}


def preset(*, layers: int, hidden_size: int, heads: int, intermediate_size: int) -> Phi3Config:
    """The config of a Phi-3 of these sizes."""
    return Phi3Config(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        sliding_window=2047,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


PRESETS = {
    "phi-3-mini": partial(preset, layers=32, hidden_size=3072, heads=32, intermediate_size=8192),
}


def check_config(config: Phi3Config) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation, window or rotary scheme, or impossible sizes.
    """
    check_activation(config, SILU, family="Phi-3")
    check_heads(config)
    check_number(config, "rms_norm_eps", part="decoder")
    check_window(config)
    rotary_config.check_rotated_part(config, "partial_rotary_factor")
    rotary_config.check_rope(config)


def translate(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of newer saves as those that are read here; see `translate_rope`.

    Nothing is padded. The class's own padding token, 32000, is outside of smaller vocabularies.
    """
    fields = without_null(rotary_config.translate_rope(fields), "head_dim", "partial_rotary_factor")
    return {**fields, "pad_token_id": None}


def restore_buffers(model: Phi3ForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.model.rotary_emb = Phi3RotaryEmbedding(config=model.config)


def parts(model: Phi3ForCausalLM) -> DecoderParts:
    """What a Phi-3 is made of."""
    sizes, window = sizes_of(model.config), model.config.sliding_window

    def layer(module: Any, _: int) -> Layer:
        return _layer(module, sizes, window=window)

    return llama_parts(model, layer=layer)


def _layer(module: Any, sizes: DecoderSizes, *, window: int | None) -> Layer:
    own, mlp = module.self_attn, module.mlp
    attended, cached = sizes.heads * sizes.head_size, sizes.kv_heads * sizes.head_size
    q, k, v = _rows(own.qkv_proj, attended, cached, cached)
    gate, up = _rows(mlp.gate_up_proj, *(sizes.intermediate_size,) * 2)
    return Layer(
        attention=Attention(
            q=q, k=k, v=v, output=matrix(own.o_proj), scale=float(own.scaling), window=window
        ),
        attention_norm=rms_norm(module.input_layernorm),
        mlp=Mlp(gate=gate, up=up, down=matrix(mlp.down_proj), activation="silu"),
        mlp_norm=rms_norm(module.post_attention_layernorm),
    )


def _rows(module: nn.Linear, *sizes: int) -> list[Matrix]:
    """The linears that a packed one without a bias holds, one below the other."""
    return [Matrix(weight=part) for part in module.weight.split(sizes)]


FAMILY = DecoderFamily(
    name="Phi-3",
    config=Phi3Config,
    module=Phi3ForCausalLM,
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
