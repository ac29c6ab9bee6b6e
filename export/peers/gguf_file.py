"""A decoder's weights as a GGUF file, for llama.cpp: of the families that it is compared with.

One decision: the parts of a decoder have the same names for all families
(`c2t.export.decoders.parts`), so a family is the names of its architecture and what it alone has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor
from transformers import PreTrainedModel

from c2t.export.decoders.families import decoder_family
from c2t.export.decoders.parts import DecoderParts, Layer, Matrix, Norm
from c2t.runtime.system.errors import EngineError

Q8_0 = gguf.GGMLQuantizationType.Q8_0
Tensors = Iterator[tuple[str, Tensor]]


@dataclass(frozen=True)
class _Architecture:
    """A family in llama.cpp.

    Args:
        name: Of the architecture.
        layer: Tensors of a layer, by their names in it; given the layer and the size of a head.
        describe: Writes the fields that this architecture alone has.
    """

    name: str
    layer: Callable[[Layer, int], Tensors]
    describe: Callable[[Any, Any, DecoderParts], None]


def check_architecture(decoder: PreTrainedModel) -> None:
    """Refuse a decoder that llama.cpp is not compared with.

    Raises:
        EngineError: Names its type.
    """
    config = decoder.config
    if config.model_type not in _ARCHITECTURES:
        problem = f"llama.cpp is not compared with decoders of type {config.model_type!r}"
        raise EngineError(problem, hint="leave llama.cpp out of --against")
    scalar = getattr(config, "query_pre_attn_scalar", None)  # of Gemma-2 alone
    if scalar is not None and scalar != config.head_dim:
        problem = f"llama.cpp has no query_pre_attn_scalar of {scalar} for this decoder"
        raise EngineError(problem, hint="leave llama.cpp out of --against")


def write_gguf(decoder: PreTrainedModel, path: Path, *, quantised: bool = False) -> None:
    """Write a decoder's weights, without a vocabulary: in float32, or its matrices in Q8_0.

    Raises:
        EngineError: See `check_architecture`.
    """
    check_architecture(decoder)
    kind = _ARCHITECTURES[decoder.config.model_type]
    parts = decoder_family(decoder.config.model_type).parts(decoder)
    sizes = parts.sizes
    writer = gguf.GGUFWriter(path, kind.name)
    writer.add_context_length(decoder.config.max_position_embeddings)
    writer.add_embedding_length(sizes.hidden_size)
    writer.add_block_count(sizes.layers)
    writer.add_feed_forward_length(sizes.intermediate_size)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.kv_heads)
    writer.add_key_length(sizes.head_size)
    writer.add_value_length(sizes.head_size)
    writer.add_rope_dimension_count(2 * len(parts.rotary.inv_freq))
    writer.add_vocab_size(sizes.vocabulary_size)
    writer.add_tokenizer_model("none")
    kind.describe(writer, decoder, parts)

    def add(name: str, tensor: Tensor) -> None:
        values = tensor.detach().float().contiguous().numpy()
        if quantised and values.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(values, Q8_0), raw_dtype=Q8_0)
        else:
            writer.add_tensor(name, values)

    add("token_embd.weight", parts.token_table)
    for name, tensor in _norm("output_norm", parts.norm):
        add(name, tensor)
    if parts.output_table.data_ptr() != parts.token_table.data_ptr():
        add("output.weight", parts.output_table)
    for number, layer in enumerate(parts.layers):
        for name, tensor in kind.layer(layer, sizes.head_size):
            add(f"blk.{number}.{name}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _norm(name: str, norm: Norm | None) -> Tensors:
    if norm is not None:
        yield f"{name}.weight", norm.weight
        if norm.bias is not None:
            yield f"{name}.bias", norm.bias


def _matrix(name: str, matrix: Matrix | None) -> Tensors:
    if matrix is not None:
        yield f"{name}.weight", matrix.weight
        if matrix.bias is not None:
            yield f"{name}.bias", matrix.bias


def _mlp(layer: Layer) -> Tensors:
    yield from _matrix("ffn_gate", layer.mlp.gate)
    yield from _matrix("ffn_up", layer.mlp.up)
    yield from _matrix("ffn_down", layer.mlp.down)


def _llama_layer(layer: Layer, head_size: int) -> Tensors:
    own = layer.attention
    yield from _norm("attn_norm", layer.attention_norm)
    yield "attn_q.weight", _interleaved(own.q.weight, head_size)
    yield "attn_k.weight", _interleaved(own.k.weight, head_size)
    yield from _matrix("attn_v", own.v)
    yield from _matrix("attn_output", own.output)
    yield from _norm("ffn_norm", layer.mlp_norm)
    yield from _mlp(layer)


def _gemma2_layer(layer: Layer, _: int) -> Tensors:
    own = layer.attention
    yield from _norm("attn_norm", layer.attention_norm)
    for name, matrix in (("q", own.q), ("k", own.k), ("v", own.v), ("output", own.output)):
        yield from _matrix(f"attn_{name}", matrix)
    yield from _norm("post_attention_norm", layer.after_attention)
    yield from _norm("ffn_norm", layer.mlp_norm)
    yield from _mlp(layer)
    yield from _norm("post_ffw_norm", layer.after_mlp)


def _gpt_neox_layer(layer: Layer, _: int) -> Tensors:
    own = layer.attention
    yield from _norm("attn_norm", layer.attention_norm)
    three = (own.q, own.k, own.v)
    yield "attn_qkv.weight", torch.cat([matrix.weight for matrix in three])
    biases = [matrix.bias for matrix in three if matrix.bias is not None]
    if biases:
        yield "attn_qkv.bias", torch.cat(biases)
    yield from _matrix("attn_output", own.output)
    yield from _norm("ffn_norm", layer.mlp_norm)
    yield from _mlp(layer)


def _describe_llama(writer: Any, decoder: Any, parts: DecoderParts) -> None:
    config, size = decoder.config, parts.sizes.head_size
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    # What Llama 3 divides the rotary frequencies by.
    plain = config.rope_theta ** -(torch.arange(0, size, 2).float() / size)
    writer.add_tensor("rope_freqs.weight", (plain / parts.rotary.inv_freq).numpy())


def _describe_gemma2(writer: Any, decoder: Any, parts: DecoderParts) -> None:
    config = decoder.config
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(parts.logit_cap)
    writer.add_sliding_window(config.sliding_window)


def _describe_gpt_neox(writer: Any, decoder: Any, _: DecoderParts) -> None:
    config = decoder.config
    writer.add_rope_freq_base(config.rotary_emb_base)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_parallel_residual(config.use_parallel_residual)


def _interleaved(matrix: Tensor, head_size: int) -> Tensor:
    """Rows [heads * size, D] in llama.cpp's order: it rotates neighbours, not halves of a head."""
    return matrix.unflatten(0, (-1, 2, head_size // 2)).transpose(1, 2).flatten(0, 2)


_ARCHITECTURES = {
    "llama": _Architecture("llama", _llama_layer, _describe_llama),
    "gpt_neox": _Architecture("gptneox", _gpt_neox_layer, _describe_gpt_neox),
    "gemma2": _Architecture("gemma2", _gemma2_layer, _describe_gemma2),
}
