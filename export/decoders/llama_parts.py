"""The parts of decoders whose modules are named like a Llama's: most families."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from c2t.export.decoders.parts import (
    Attention,
    DecoderParts,
    Layer,
    Matrix,
    Mlp,
    Norm,
    sizes_of,
)

FIRST_LAYER = "model.layers.0."
# The second name of a tied output table, and the first.
TIED_BY_CONFIG = {"lm_head.weight": "model.embed_tokens.weight"}
# Old saves hold `model.layers.N.self_attn.rotary_emb.inv_freq`, a function of the config.
TOLERATED_ENDINGS = (".rotary_emb.inv_freq",)

LayerOf = Callable[[Any, int], Layer]


def matrix(module: nn.Linear) -> Matrix:
    """A linear of PyTorch."""
    return Matrix(weight=module.weight, bias=module.bias)


def rms_norm(module: Any) -> Norm:
    """An RMSNorm of transformers, whichever family's but Gemma's."""
    return Norm(weight=module.weight, epsilon=float(module.variance_epsilon))


def llama_parts(model: Any, *, layer: LayerOf) -> DecoderParts:
    """The parts of a whole decoder.

    Args:
        model: A causal language model of transformers.
        layer: Makes the parts of a layer of its module and its index.
    """
    inner = model.model

    def layers() -> Iterator[Layer]:
        for index, module in enumerate(inner.layers):
            yield layer(module, index)

    return DecoderParts(
        sizes=sizes_of(model.config),
        rotary=inner.rotary_emb,
        layers=layers(),
        norm=rms_norm(inner.norm),
        token_table=inner.embed_tokens.weight,
        output_table=model.lm_head.weight,
    )


def llama_layer(module: Any, *, head_norms: bool = False, window: int | None = None) -> Layer:
    """The parts of a layer: two norms, separate projections, a gated MLP with SiLU.

    Args:
        module: The layer.
        head_norms: Queries and keys are normalised head by head.
        window: Of a sliding window.
    """
    own, mlp = module.self_attn, module.mlp
    return Layer(
        attention=Attention(
            q=matrix(own.q_proj),
            k=matrix(own.k_proj),
            v=matrix(own.v_proj),
            output=matrix(own.o_proj),
            scale=float(own.scaling),
            q_norm=rms_norm(own.q_norm) if head_norms else None,
            k_norm=rms_norm(own.k_norm) if head_norms else None,
            window=window,
        ),
        attention_norm=rms_norm(module.input_layernorm),
        mlp=Mlp(
            gate=matrix(mlp.gate_proj),
            up=matrix(mlp.up_proj),
            down=matrix(mlp.down_proj),
            activation="silu",
        ),
        mlp_norm=rms_norm(module.post_attention_layernorm),
    )
