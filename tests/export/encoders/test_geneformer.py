"""The encoder graph against BertForMaskedLM, and what is (not) in it."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from tiny_models import TinySizes, tiny_geneformer
from tolerance import FLOAT32, worst_difference

from c2t.export.encoders.geneformer import write_encoder_graph
from c2t.export.model.model import layers_needed
from c2t.runtime.system.errors import CheckpointError

LAYERS = TinySizes().encoder_layers


def graph_nodes(path: Path) -> list[onnx.NodeProto]:
    return list(onnx.load(path, load_external_data=False).graph.node)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("rows", [None, 5])
@pytest.mark.parametrize("emb_layer", [0, -1, -LAYERS])
def test_equals_bert(tmp_path: Path, emb_layer: int, rows: int | None, activation: str) -> None:
    model = tiny_geneformer()
    if activation == "gelu":
        model.config.hidden_act = "gelu"
        for layer in model.bert.encoder.layer:
            layer.intermediate.intermediate_act_fn = torch.nn.GELU()
    path = tmp_path / "encoder.onnx"
    written = write_encoder_graph(model, path, emb_layer=emb_layer, rows=rows)
    assert (written.layers_run, written.rows) == (LAYERS + emb_layer, rows)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    for cells, genes in ((1, 1), (2, 4), (1, 5), (2, 17), (1, 48)):
        tokens = torch.randint(0, 60, (cells, genes))
        with torch.no_grad():
            embeddings = model.bert.embeddings(tokens)
            states = model.bert(
                tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True
            ).hidden_states
        (hidden,) = session.run(None, {"embeddings": embeddings.numpy()})
        expected = states[LAYERS + emb_layer][:, :rows].numpy()
        assert worst_difference(hidden, expected) < FLOAT32


def test_last_layer_computes_keys_and_values_of_all_rows_and_the_rest_of_few(
    tmp_path: Path,
) -> None:
    path = tmp_path / "encoder.onnx"
    write_encoder_graph(tiny_geneformer(), path, emb_layer=-1, rows=5)
    nodes = graph_nodes(path)
    names = [node.name for node in nodes]
    assert "layers.0.attention.qkv" in names
    assert {"layers.1.attention.kv", "layers.1.attention.q", "layers.1.rows"} <= set(names)
    assert not any(name.startswith("layers.2") for name in names)
    inputs = {node.name: list(node.input) for node in nodes}
    assert inputs["layers.1.attention.q"][0] == "layers.1.rows"
    assert inputs["layers.1.attention.kv"][0] == inputs["layers.1.rows"][0]
    assert {node.domain for node in nodes} == {""}
    assert all(names)


@pytest.mark.parametrize("emb_layer", [1, -4])
def test_emb_layer_outside_the_model(emb_layer: int) -> None:
    with pytest.raises(CheckpointError, match=f"emb_layer is {emb_layer}; .* has -3 to 0"):
        layers_needed(3, emb_layer)


def test_unknown_activation_leaves_nothing_behind(tmp_path: Path) -> None:
    model = tiny_geneformer()
    model.config.hidden_act = "silu"
    with pytest.raises(CheckpointError, match="activation is 'silu'"):
        write_encoder_graph(model, tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())
