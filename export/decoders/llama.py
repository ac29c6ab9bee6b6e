"""Llama decoders: which configs are taken, names in checkpoints, published sizes, the graph."""

from functools import partial
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from c2t.export.decoders import cached_decoder
from c2t.export.decoders.cached_decoder import MAX_POSITIONS, write_cached_decoder
from c2t.export.graphs.graph_builder import no_progress
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.progress import Advance

# Rotary schemes whose angles depend on the position alone, below `max_position_embeddings`.
ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")

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
    if config.hidden_act != "silu":
        problem = f"the decoder's activation is {config.hidden_act!r}"
        raise CheckpointError(problem, hint="c2t exports Llama decoders, which use silu")
    scaling = config.rope_scaling or {}
    rope = scaling.get("rope_type", scaling.get("type", "default"))
    if rope not in ROPE_TYPES:
        problem = f"the decoder's rotary scheme is {rope!r}"
        raise CheckpointError(problem, hint=f"c2t exports {', '.join(ROPE_TYPES)}")


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
