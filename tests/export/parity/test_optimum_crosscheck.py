"""Optimum's own (traced) export of the same models computes what our authored graphs compute."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_models import tiny_geneformer, tiny_llama
from tolerance import FLOAT32, worst_difference
from transformers import PreTrainedModel

from c2t.export.decoders.llama import write_decoder_graph
from c2t.export.encoders.geneformer import write_encoder_graph

pytest.importorskip("optimum.exporters.onnx", reason="optimum-onnx is not installed")
# Optimum traces with PyTorch's former exporter, which says so, and says what tracing may miss.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:You are using the legacy TorchScript-based:DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Exporting aten..index operator of advanced:UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


def export(model: PreTrainedModel, folder: Path, task: str) -> onnxruntime.InferenceSession:
    from optimum.exporters.onnx import onnx_export_from_model

    onnx_export_from_model(model, folder, task=task, do_validation=False)
    return onnxruntime.InferenceSession(folder / "model.onnx")


def test_encoder(tmp_path: Path) -> None:
    model = tiny_geneformer()
    theirs = export(model.bert, tmp_path / "optimum", "feature-extraction")
    write_encoder_graph(model, tmp_path / "encoder.onnx", emb_layer=0)
    ours = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    for cells, genes in ((1, 1), (2, 9), (1, 48)):
        tokens = torch.randint(0, 60, (cells, genes))
        everything = np.ones((cells, genes), np.int64)
        inputs = {
            "input_ids": tokens.numpy(),
            "attention_mask": everything,
            "token_type_ids": everything * 0,
        }
        (expected,) = theirs.run(["last_hidden_state"], inputs)
        with torch.no_grad():
            embeddings = model.bert.embeddings(tokens).numpy()
        (hidden,) = ours.run(["hidden"], {"embeddings": embeddings})
        assert worst_difference(hidden, expected) < FLOAT32


def test_decoder(tmp_path: Path) -> None:
    model = tiny_llama()
    theirs = export(model, tmp_path / "optimum", "text-generation-with-past")
    write_decoder_graph(model, tmp_path / "decoder.onnx")
    ours = onnxruntime.InferenceSession(tmp_path / "decoder.onnx")
    config, capacity = model.config, 24
    names = [
        f"{part}.{layer}" for layer in range(config.num_hidden_layers) for part in ("key", "value")
    ]
    heads = (config.num_key_value_heads, config.head_dim)
    past = {name: np.zeros((1, heads[0], 0, heads[1]), np.float32) for name in names}
    caches = {name: np.zeros((1, heads[0], capacity, heads[1]), np.float32) for name in names}
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, 20))
    written = 0
    for count in (15, 1, 4):
        rows = tokens[:, written : written + count]
        positions = written + np.arange(count)[None]
        inputs = {
            "input_ids": rows,
            "attention_mask": np.ones((1, written + count), np.int64),
            "position_ids": positions,
            **{
                f"past_key_values.{layer}.{part}": past[f"{part}.{layer}"]
                for part, layer in (name.split(".") for name in names)
            },
        }
        known = {value.name for value in theirs.get_inputs()}
        present = [f"present.{layer}.{part}" for part, layer in (n.split(".") for n in names)]
        expected, *presents = theirs.run(
            ["logits", *present], {name: inputs[name] for name in known}
        )
        past = dict(zip(names, presents, strict=True))
        with torch.no_grad():
            embeddings = model.get_input_embeddings()(torch.from_numpy(rows)).numpy()
        logits, *updated = ours.run(
            ["logits", *(f"present_{name}" for name in names)],
            {
                "inputs_embeds": embeddings,
                "position_ids": positions,
                "write_index": np.array([written]),
                "kv_length": np.array([written + count]),
                "logit_rows": np.arange(count)[None],
                **{f"past_{name}": cache for name, cache in caches.items()},
            },
        )
        caches = dict(zip(names, updated, strict=True))
        written += count
        assert worst_difference(logits, expected) < FLOAT32
        for name in names:
            assert worst_difference(caches[name][:, :, :written], past[name]) < FLOAT32
