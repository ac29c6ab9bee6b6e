"""Parity passes for graphs of the same model, and names what differs for any other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tiny_models import TinySizes, tiny_cell, tiny_checkpoint

from c2t.export.decoders.llama import write_decoder_graph
from c2t.export.encoders.geneformer import write_encoder_graph
from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.parity.check import check_parity
from c2t.export.parity.result import FLOAT32_TOLERANCE, compare, raise_failures
from c2t.export.projectors.families import write_projector_graph
from c2t.runtime.system.errors import ParityError

LENGTHS = (3, 20, 33)


def write_bundle_graphs(loaded: LoadedCheckpoint, folder: Path) -> None:
    model = loaded.model
    write_encoder_graph(
        model.encoder, folder / "encoder.onnx", emb_layer=model.emb_layer, rows=model.rows
    )
    write_projector_graph(model.projector, folder / "projector.onnx")
    write_decoder_graph(model.decoder, folder / "decoder.onnx")
    tables = model.encoder.bert.embeddings
    save_file(
        {
            "word": tables.word_embeddings.weight.numpy(),
            "position": tables.position_embeddings.weight.numpy(),
            "token_type": tables.token_type_embeddings.weight[0].clone().numpy(),
            "gamma": tables.LayerNorm.weight.numpy(),
            "beta": tables.LayerNorm.bias.numpy(),
        },
        folder / "gene_embedding.safetensors",
    )


def sequences(sizes: TinySizes) -> list[list[int]]:
    return [tiny_cell(length, sizes, seed=length).tolist() for length in LENGTHS]


@pytest.mark.parametrize(
    "sizes",
    [
        TinySizes(),
        TinySizes(tied=False, projector_dropout=0.1, version=1),
        TinySizes(projector="perceiver"),
        TinySizes(projector="qformer"),
    ],
    ids=["mlp", "mlp untied v1", "perceiver", "qformer"],
)
def test_graphs_agree_with_pytorch(tmp_path: Path, sizes: TinySizes) -> None:
    loaded = tiny_checkpoint(sizes)
    write_bundle_graphs(loaded, tmp_path)
    results = check_parity(loaded, tmp_path, sequences(sizes))
    assert {result.graph for result in results} == {
        "gene_embedding",
        "encoder",
        "projector",
        "decoder",
    }
    outputs = {result.output for result in results if result.graph == "decoder"}
    assert outputs == {
        "logits",
        *(f"present_{part}.{layer}" for part in ("key", "value") for layer in range(2)),
    }
    assert max(result.max_difference for result in results) < FLOAT32_TOLERANCE / 5
    encoder_cases = [result.case for result in results if result.graph == "encoder"]
    assert "1 x 1 genes" in encoder_cases
    assert f"1 x {sizes.encoder_positions} genes" in encoder_cases
    assert "2 x 3 genes" in encoder_cases


def test_every_failure_is_listed(tmp_path: Path) -> None:
    loaded = tiny_checkpoint()
    write_bundle_graphs(loaded, tmp_path)
    with torch.no_grad():
        loaded.model.decoder.model.layers[1].self_attn.k_proj.weight[0, 0] += 1
        loaded.model.projector.projection[0].weight[0, 0] += 1
    with pytest.raises(ParityError) as caught:
        check_parity(loaded, tmp_path, sequences(TinySizes()))
    message = caught.value.problem
    assert "outputs differ from PyTorch (tolerance 1e-04)" in message
    for output in ("projector cell_vectors", "decoder logits", "decoder present_key.1"):
        assert f"- {output}, " in message
    for output in ("encoder hidden", "decoder present_key.0", "decoder present_value.1"):
        assert output not in message
    assert "max " in message
    assert caught.value.hint


def test_wrong_shape_and_nan_are_failures() -> None:
    reference = np.zeros((1, 3), np.float32)
    results = [
        compare(np.zeros((1, 2), np.float32), reference, graph="g", name="a", case="c"),
        compare(np.array([[0, np.nan, 0]], np.float32), reference, graph="g", name="b", case="c"),
        compare(reference, reference, graph="g", name="same", case="c"),
    ]
    with pytest.raises(ParityError) as caught:
        raise_failures(results)
    assert caught.value.problem.splitlines() == [
        "2 of 3 outputs differ from PyTorch (tolerance 1e-04)",
        "- g a, c: shape (1, 2), expected (1, 3)",
        "- g b, c: max inf at (0, 1)",
    ]
