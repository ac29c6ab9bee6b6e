"""A decoder of another family is written by a few lines of its own and the layers that all share.

Qwen3 normalises queries and keys head by head before they are rotated. Nothing else of its graph
differs from a Llama's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from tiny_models import TinySizes, tiny_checkpoint
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from c2t.export.decoders.cached_decoder import rms_norm, write_cached_decoder
from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.model.model import Cell2TextModel
from c2t.export.parity.decoder import check_decoder
from c2t.runtime.engine_protocol import EngineOptions


def norm_of_heads(graph: GraphBuilder, attention: Any, part: str, value: str) -> str:
    norm = getattr(attention, f"{part}_norm")
    return rms_norm(graph, value, norm, name=f"{value}.norm")


def tiny_qwen3(sizes: TinySizes, vocabulary_size: int) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=sizes.decoder_width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=40,
        max_position_embeddings=256,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    model = Qwen3ForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.requires_grad_(False)


def test_prefill_steps_and_ragged_batches_equal_pytorch(tmp_path: Path) -> None:
    sizes, loaded = TinySizes(), tiny_checkpoint()
    decoder = tiny_qwen3(sizes, len(loaded.tokenizer))
    path = tmp_path / "decoder.onnx"
    write_cached_decoder(
        decoder, path, rotary=Qwen3RotaryEmbedding(decoder.config), before_rotary=norm_of_heads
    )
    onnx.checker.check_model(path, full_check=True)
    model = Cell2TextModel(loaded.model.encoder, loaded.model.projector, decoder, top_k=8).eval()
    cells = [torch.randn(rows, sizes.decoder_width) for rows in (8, 3)]
    done: list[int] = []
    options = EngineOptions(threads=1, prepack=False)
    with torch.inference_mode():
        results = list(check_decoder(model, loaded.prompt, path, cells, options, done.append))
    assert len(done) == 4
    assert [str(result) for result in results if not result.passed] == []
