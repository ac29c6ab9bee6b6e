"""The decoder graph: the variants of Llama configs; its use is tested in `test_parity.py`."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_models import TinySizes, tiny_llama
from tolerance import FLOAT32, worst_difference
from transformers import LlamaConfig, LlamaForCausalLM

from c2t.export.decoders.cached_decoder import cached_positions
from c2t.export.decoders.llama import write_decoder_graph
from c2t.runtime.system.errors import CheckpointError

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS = {
    "default": {},
    "wide heads": {"head_dim": 12},
    "one head group": {"num_key_value_heads": 4},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "llama3": {"rope_scaling": LLAMA3, "rope_theta": 5e5},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "dynamic": {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    "tied": {"tie_word_embeddings": True},
}


def prefill(path: Path, embeddings: np.ndarray, config: LlamaConfig) -> np.ndarray:
    cells, rows, _ = embeddings.shape
    shape = (cells, config.num_key_value_heads, rows, config.head_dim)
    caches = {
        f"past_{part}.{layer}": np.zeros(shape, np.float32)
        for part in ("key", "value")
        for layer in range(config.num_hidden_layers)
    }
    every_row = np.tile(np.arange(rows), (cells, 1))
    inputs = {
        "inputs_embeds": embeddings,
        "position_ids": every_row,
        "write_index": np.zeros(cells, np.int64),
        "kv_length": np.full(cells, rows),
        "logit_rows": every_row,
    }
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], inputs | caches)
    return logits


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_llama(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(**(SIZES | VARIANTS[name]))
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    path = tmp_path / "decoder.onnx"
    write_decoder_graph(model, path)
    onnx.checker.check_model(path, full_check=True)
    embeddings = torch.randn(2, 100, config.hidden_size)
    with torch.no_grad():
        expected = model(inputs_embeds=embeddings).logits.numpy()
    assert worst_difference(prefill(path, embeddings.numpy(), config), expected) < FLOAT32


@pytest.mark.parametrize("tied", [True, False])
def test_token_table_can_be_mapped_and_is_stored_once(tmp_path: Path, tied: bool) -> None:
    model = tiny_llama(TinySizes(tied=tied))
    path = tmp_path / "decoder.onnx"
    reference = write_decoder_graph(model, path)
    table = model.model.embed_tokens.weight.detach().numpy()
    data = tmp_path / reference.file
    mapped = np.memmap(data, reference.dtype, "r", reference.offset, reference.shape)
    np.testing.assert_array_equal(mapped, table)
    assert data.read_bytes().count(table[:2].tobytes()) == 1
    stored = {
        tensor.name: int(tensor.external_data[1].value)
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        if tensor.external_data
    }
    assert (stored["output.weight"] == reference.offset) == tied


def test_operators_are_standard_and_linears_packed(tmp_path: Path) -> None:
    path = tmp_path / "decoder.onnx"
    write_decoder_graph(tiny_llama(), path)
    model = onnx.load(path, load_external_data=False)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 24)]
    assert {node.domain for node in model.graph.node} == {""}
    linears = [node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    layer = ("attention.qkv", "attention.output", "mlp.gate_up", "mlp.down")
    assert linears == [*(f"layers.{n}.{part}" for n in range(2) for part in layer), "output"]


def test_only_wanted_rows_go_past_the_last_attention(tmp_path: Path) -> None:
    path = tmp_path / "decoder.onnx"
    write_decoder_graph(tiny_llama(), path)
    graph = onnx.load(path, load_external_data=False).graph
    gathers = [node.name for node in graph.node if node.op_type == "GatherND"]
    assert gathers == [f"layers.1.{part}.wanted_rows" for part in ("attention", "residual")]


def test_rotary_tables_are_limited() -> None:
    assert cached_positions(LlamaConfig(max_position_embeddings=131072)) == 8192
    assert cached_positions(LlamaConfig(max_position_embeddings=256)) == 256


def test_unknown_rotary_scheme(tmp_path: Path) -> None:
    model = tiny_llama()
    model.config.rope_scaling = {"rope_type": "longrope"}
    with pytest.raises(CheckpointError, match="rotary scheme is 'longrope'"):
        write_decoder_graph(model, tmp_path / "decoder.onnx")
    assert not list(tmp_path.iterdir())
