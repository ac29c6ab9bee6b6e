"""What holds of the graph of every family; its numbers are tested in the family's own file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_decoders import OWN, random_rows, tiny_decoder_of, write_tiny_graph

from c2t.export.decoders.families import FAMILIES
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder


def test_there_is_a_tiny_decoder_of_each() -> None:
    assert FAMILIES.keys() <= OWN.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_product_with_a_weight_is_a_packed_linear(tmp_path: Path, family: str) -> None:
    path = write_tiny_graph(tiny_decoder_of(family), tmp_path)
    graph = onnx.load(path, load_external_data=False)
    assert {node.domain for node in graph.graph.node} == {""}
    names = [node.name for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")]
    up = "mlp.up" if family == "gpt_neox" else "mlp.gate_up"
    layer = ("attention.qkv", "attention.output", up, "mlp.down")
    assert names == [*(f"layers.{n}.{part}" for n in range(3) for part in layer), "output"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_token_table_is_stored_once(tmp_path: Path, family: str) -> None:
    for tied in (False, True):
        model = tiny_decoder_of(family, tie_word_embeddings=tied)
        path = tmp_path / "decoder.onnx"
        reference = FAMILIES[family].write_graph(model, path)
        table = model.get_input_embeddings().weight.numpy()
        data = tmp_path / reference.file
        mapped = np.memmap(data, reference.dtype, "r", reference.offset, reference.shape)
        np.testing.assert_array_equal(mapped, table)
        assert data.read_bytes().count(table[:2].tobytes()) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_manifest_says_what_the_graph_has(tmp_path: Path, family: str) -> None:
    model = tiny_decoder_of(family)
    path = tmp_path / "decoder.onnx"
    entry = FAMILIES[family].manifest_entry(model.config, FAMILIES[family].write_graph(model, path))
    ends = check_graph(path)
    assert [f"past_{name}" for name in entry.cache_names] == list(ends.inputs)[5:]
    _, shape = ends.inputs["past_key.0"]
    assert (shape[1], shape[3]) == (entry.kv_heads, entry.head_size)
    assert entry.model == f"{FAMILIES[family].name}, 3 layers, width {entry.hidden_size}"
    assert entry.max_positions == 512


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_unused_cache_positions_change_no_bit(tmp_path: Path, family: str, threads: int) -> None:
    """So a cache may be as large as is needed, whatever was described before."""
    model = tiny_decoder_of(family)
    table = model.get_input_embeddings().weight.numpy()
    path = tmp_path / "decoder.onnx"
    sizes = FAMILIES[family].manifest_entry(model.config, FAMILIES[family].write_graph(model, path))
    engine = OnnxRuntimeDecoder(path, sizes, table, EngineOptions(threads=threads))
    ids = np.random.default_rng(0).integers(0, len(table), 300)
    found = [_parts(engine, capacity, ids) for capacity in (320, 384, 512, 576, 1024)]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def _parts(engine: OnnxRuntimeDecoder, capacity: int, ids: np.ndarray) -> np.ndarray:
    """Logits [6, V] behind a prompt, a single token and some tokens, of two batch rows."""
    cache, done, found = engine.new_cache(2, capacity), 0, []
    for tokens in (293, 1, 6):
        step = engine.bind(cache, (0, 2), tokens, 1)
        step.token_ids[:] = ids[done : done + tokens], ids[::-1][done : done + tokens]
        step.write_index[:] = done
        step.position_ids[:] = done + np.arange(tokens)
        step.logit_rows[:] = tokens - 1
        found.append(step.run()[:, 0].copy())
        done += tokens
    return np.concatenate(found)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_hidden_rows_are_those_of_the_model(family: str) -> None:
    """What export compares every bundle with."""
    model = tiny_decoder_of(family)
    rows = random_rows(model.config, 9)
    hidden = model.base_model(inputs_embeds=rows).last_hidden_state
    found = FAMILIES[family].logits(model, hidden)
    torch.testing.assert_close(found, model(inputs_embeds=rows).logits)
