"""Llama decoders: which configs are taken, names in checkpoints, published sizes, the graph."""

from functools import partial
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from c2t.export.decoders import cached_decoder
from c2t.export.decoders.cached_decoder import MAX_POSITIONS, write_cached_decoder
from c2t.export.graphs.graph_builder import no_progress
from c2t.export.model.family import check_number, check_sizes, is_positive
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.progress import Advance

# Rotary schemes whose angles depend on the position alone, below `max_position_embeddings`, with
# the fields of `rope_scaling` that transformers reads for each.
_LONGER = ("factor", "original_max_position_embeddings")
ROPE_TYPES = {
    "default": (),
    "linear": ("factor",),
    "dynamic": _LONGER,
    "llama3": (*_LONGER, "low_freq_factor", "high_freq_factor"),
    "yarn": (
        *_LONGER,
        *("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    ),
}
# Fields of `rope_scaling` that say what was done, not what to do.
_ROPE_NOTES = {"rope_type", "type", "finetuned"}
# Names of SiLU in configs.
SILU = ("silu", "swish")
# Fields of config.json that are read, or that matter in training only.
SETTINGS = frozenset({
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta",
    "rope_scaling", "attention_bias", "mlp_bias", "head_dim", "attention_dropout",
    "pretraining_tp",  # how a product is split, not what it is
})  # fmt: skip
# Rotates a part of each head only; the angles of the others are not written here.
NEUTRAL = {"partial_rotary_factor": 1.0, "rotary_pct": 1.0}

FIRST_LAYER = "model.layers.0."
# The second name of a tied output table, and the first.
TIED_BY_CONFIG = {"lm_head.weight": "model.embed_tokens.weight"}
# Old saves hold `model.layers.N.self_attn.rotary_emb.inv_freq`, a function of the config.
TOLERATED_ENDINGS = (".rotary_emb.inv_freq",)
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
        CheckpointError: Another activation or rotary scheme.
    """
    if config.hidden_act not in SILU:
        problem = f"the decoder's activation is {config.hidden_act!r}"
        raise CheckpointError(problem, hint="c2t exports Llama decoders, which use silu")
    _check_heads(config)
    check_number(config, "rms_norm_eps", part="decoder")
    _check_rope(config)


def _check_rope(config: LlamaConfig) -> None:
    """Refuse rotary positions of another scheme, or with numbers that give no angles.

    Raises:
        CheckpointError: Names the scheme or the field.
    """
    check_number(config, "rope_theta", part="decoder")
    scaling = config.rope_scaling or {}
    rope = scaling.get("rope_type", scaling.get("type", "default"))
    if rope not in ROPE_TYPES:
        problem = f"the decoder's rotary scheme is {rope!r}"
        raise CheckpointError(problem, hint=f"c2t exports {', '.join(ROPE_TYPES)}")
    unread = sorted(scaling.keys() - {*ROPE_TYPES[rope]} - _ROPE_NOTES)
    if unread:
        problem = f"the decoder's rope_scaling of type {rope} has {unread[0]}, which nothing reads"
        raise CheckpointError(problem, hint="check rope_scaling in its config.json")
    numbers = {name: scaling[name] for name in ROPE_TYPES[rope] if scaling.get(name) is not None}
    wrong = [name for name, value in numbers.items() if not is_positive(value)]
    wrong = [name for name in wrong if name != "truncate"]
    if rope == "llama3" and not wrong and numbers["low_freq_factor"] == numbers["high_freq_factor"]:
        wrong = ["high_freq_factor"]
    if wrong:
        problem = f"the decoder's rope_scaling has {wrong[0]} {scaling[wrong[0]]!r}"
        raise CheckpointError(problem, hint="check rope_scaling in its config.json")


def _check_heads(config: LlamaConfig) -> None:
    """Refuse sizes that no heads can be made with.

    Raises:
        CheckpointError: Names the numbers.
    """
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    heads = ("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings")
    check_sizes(config, (*sizes, *heads), part="decoder")
    count, groups = config.num_attention_heads, config.num_key_value_heads
    hint = "check num_attention_heads, num_key_value_heads and head_dim in its config.json"
    if count % groups:
        problem = f"the decoder's {count} attention heads cannot share {groups} key-value heads"
        raise CheckpointError(problem, hint=hint)
    size = cached_decoder.head_size_of(config)
    if size < 2 or size % 2:
        problem = f"the decoder's heads have {size} numbers: rotary positions need an even number"
        raise CheckpointError(problem, hint=hint)


def translate(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a config.json of transformers 5 as those before it: rope_parameters is new.

    Raises:
        CheckpointError: rope_scaling is no object; or rope_parameters lacks the base of the angles,
            contradicts older fields beside it, or has one set for each type of layer.
    """
    fields = dict(fields)
    scaling = fields.get("rope_scaling")
    if scaling is not None and not isinstance(scaling, dict):
        problem = f"rope_scaling is {scaling!r}: not one set of numbers"
        raise CheckpointError(problem, hint="check rope_scaling in the decoder's config.json")
    rope = fields.pop("rope_parameters", None)
    if rope is None:
        return fields
    hint = "check rope_parameters in the decoder's config.json"
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        problem = f"rope_parameters is {rope!r}: not one set of numbers"
        raise CheckpointError(problem, hint=hint)
    rope = dict(rope)
    if "rope_theta" not in rope:
        problem = "rope_parameters names no rope_theta, the base of the rotary angles"
        raise CheckpointError(problem, hint=hint)
    theta, part = rope.pop("rope_theta"), rope.pop("partial_rotary_factor", 1.0)
    scaling = rope if rope.get("rope_type", "default") != "default" else None
    for name, value in (
        ("rope_theta", theta),
        ("rope_scaling", scaling),
        ("partial_rotary_factor", part),
    ):
        if fields.get(name, value) not in (value, None):
            problem = f"{name} is {fields[name]!r}, but rope_parameters says {value!r}"
            raise CheckpointError(problem, hint=hint)
        fields[name] = value
    return fields


def restore_buffers(model: LlamaForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.model.rotary_emb = LlamaRotaryEmbedding(config=model.config)


def manifest_entry(config: LlamaConfig, token_embedding: TensorReference) -> Decoder:
    """What the manifest says of a Llama."""
    return cached_decoder.manifest_entry("Llama", config, token_embedding)


def write_decoder_graph(
    model: LlamaForCausalLM,
    path: Path,
    *,
    max_positions: int = MAX_POSITIONS,
    advance: Advance = no_progress,
) -> TensorReference:
    """Write the graph of a Llama and its data file; see `write_cached_decoder`.

    Raises:
        CheckpointError: Another activation or rotary scheme.
    """
    check_config(model.config)
    return write_cached_decoder(
        model,
        path,
        rotary=LlamaRotaryEmbedding(model.config),
        max_positions=max_positions,
        advance=advance,
    )
