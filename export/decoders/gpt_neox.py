"""GPT-NeoX decoders, Pythia among them: LayerNorm, biases, GELU, a part of each head rotated.

Attention and MLP read the same rows where the residual is parallel. The weight that gives queries,
keys and values holds them head by head; the graph has them one after the other, as all families do.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding

from c2t.export.decoders import rotary_config
from c2t.export.decoders.config_checks import GELU, GELU_TANH, check_activation, check_heads
from c2t.export.decoders.decoder_family import DecoderFamily
from c2t.export.decoders.llama_parts import matrix
from c2t.export.decoders.parts import (
    Attention,
    DecoderParts,
    Layer,
    Matrix,
    Mlp,
    Norm,
    sizes_of,
)
from c2t.export.model.family import check_number
from c2t.runtime.system.errors import CheckpointError

SETTINGS = (rotary_config.SETTINGS - {"rope_theta"}) | {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "hidden_act", "rotary_pct", "rotary_emb_base", "layer_norm_eps", "use_parallel_residual",
    "attention_bias", "attention_dropout", "hidden_dropout", "classifier_dropout",
}  # fmt: skip
# Old saves hold masks and rotary frequencies, functions of the config.
TOLERATED_ENDINGS = (
    ".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq",
    ".rotary_emb.inv_freq",
)  # fmt: skip


def preset(*, layers: int, hidden_size: int, heads: int, intermediate_size: int) -> GPTNeoXConfig:
    """The config of a Pythia of these sizes."""
    return GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=None,
    )


PRESETS = {
    "pythia-tiny": partial(preset, layers=2, hidden_size=64, heads=4, intermediate_size=256),
    "pythia-160m": partial(preset, layers=12, hidden_size=768, heads=12, intermediate_size=3072),
    "pythia-410m": partial(preset, layers=24, hidden_size=1024, heads=16, intermediate_size=4096),
    "pythia-1b": partial(preset, layers=16, hidden_size=2048, heads=8, intermediate_size=8192),
}


def check_config(config: GPTNeoXConfig) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation or rotary scheme, or impossible sizes.
    """
    check_activation(config, (*GELU, *GELU_TANH), family="GPT-NeoX")
    check_heads(config)
    check_number(config, "layer_norm_eps", part="decoder")
    for name in ("use_parallel_residual", "attention_bias"):
        if not isinstance(getattr(config, name), bool):
            problem = f"the decoder's {name} is {getattr(config, name)!r}"
            raise CheckpointError(problem, hint="it must be true or false: check its config.json")
    rotary_config.check_rotated_part(config, "rotary_pct")
    rotary_config.check_rope(config)


def translate(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of newer saves as those that are read here; see `translate_rope`."""
    return rotary_config.translate_rope(fields, theta="rotary_emb_base", share="rotary_pct")


def restore_buffers(model: GPTNeoXForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.gpt_neox.rotary_emb = GPTNeoXRotaryEmbedding(config=model.config)


def parts(model: GPTNeoXForCausalLM) -> DecoderParts:
    """What a GPT-NeoX is made of."""
    inner = model.gpt_neox

    def layers() -> Iterator[Layer]:
        for module in inner.layers:
            yield _layer(module, model.config)

    return DecoderParts(
        sizes=sizes_of(model.config),
        rotary=inner.rotary_emb,
        layers=layers(),
        norm=_norm(inner.final_layer_norm),
        token_table=inner.embed_in.weight,
        output_table=model.embed_out.weight,
    )


def _layer(module: Any, config: GPTNeoXConfig) -> Layer:
    own, mlp = module.attention, module.mlp
    q, k, v = _by_part(own.query_key_value, heads=config.num_attention_heads)
    return Layer(
        attention=Attention(q=q, k=k, v=v, output=matrix(own.dense), scale=float(own.scaling)),
        attention_norm=_norm(module.input_layernorm),
        mlp=Mlp(
            up=matrix(mlp.dense_h_to_4h),
            down=matrix(mlp.dense_4h_to_h),
            activation="gelu" if config.hidden_act in GELU else "gelu_tanh",
        ),
        mlp_norm=_norm(module.post_attention_layernorm),
        parallel=config.use_parallel_residual,
    )


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(weight=module.weight, bias=module.bias, epsilon=float(module.eps), centred=True)


def _by_part(module: nn.Linear, *, heads: int) -> list[Matrix]:
    """Queries, keys and values of a linear whose outputs are [heads, 3, head_size]."""
    inputs = module.in_features
    weights = module.weight.view(heads, 3, -1, inputs)
    biases = None if module.bias is None else module.bias.view(heads, 3, -1)
    return [
        Matrix(
            weight=weights[:, part].reshape(-1, inputs),
            bias=None if biases is None else biases[:, part].reshape(-1),
        )
        for part in range(3)
    ]


FAMILY = DecoderFamily(
    name="GPT-NeoX",
    config=GPTNeoXConfig,
    module=GPTNeoXForCausalLM,
    check_config=check_config,
    restore_buffers=restore_buffers,
    first_layer="gpt_neox.layers.0.",
    tied_by_config={"embed_out.weight": "gpt_neox.embed_in.weight"},
    tolerated_endings=TOLERATED_ENDINGS,
    settings=SETTINGS,
    translate=translate,
    parts=parts,
    presets=PRESETS,
)
