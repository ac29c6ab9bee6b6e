"""Tiny random decoders of every family, their config files, and their graphs run in steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PretrainedConfig, PreTrainedModel

from c2t.export.checkpoint.configs import read_decoder_config
from c2t.export.decoders.families import FAMILIES
from c2t.export.decoders.parts import sizes_of
from c2t.runtime.bundle.graph_check import check_graph

Float32 = NDArray[np.float32]
LOGITS = 1e-4  # of float32 logits, from transformers' own
# One prompt, steps of one and of several tokens, and two parts.
WAYS = ([5], [230], [1, 1, 2], [60, 1, 1, 6, 1], [20, 30])
SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
# What a family's config has beyond those.
OWN: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 24},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 12},
    "gpt_neox": {"hidden_size": 64, "rotary_pct": 0.25},
    "gemma2": {
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "sliding_window": 24,
        # Low enough to bend what these weights give.
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 8.0,
    },
    "phi3": {"num_key_value_heads": 2, "sliding_window": 24},
}


def tiny_config(family: str, **changes: Any) -> PretrainedConfig:
    """The config of a tiny decoder."""
    return FAMILIES[family].config(**(SIZES | OWN[family] | changes))


def tiny_decoder_of(
    family: str, *, seed: int = 0, spread: float = 0.05, **changes: Any
) -> PreTrainedModel:
    """A random decoder whose norms and biases are off their trivial values by `spread`."""
    torch.manual_seed(seed)
    model = FAMILIES[family].module(tiny_config(family, **changes)).eval()
    for parameter in model.parameters():
        parameter.data += spread * torch.randn_like(parameter)
    FAMILIES[family].restore_buffers(model)
    return model.requires_grad_(False)


def write_tiny_graph(model: PreTrainedModel, folder: Path) -> Path:
    """Write the graph of a decoder; returns its path."""
    path = folder / "decoder.onnx"
    FAMILIES[model.config.model_type].write_graph(model, path)
    return path


class GraphRun:
    """A graph on ONNX Runtime, plain: fresh caches full of rubbish, all logits."""

    def __init__(self, path: Path, config: PretrainedConfig) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.log_severity_level = 3  # caches that are not bound in place are no news here
        self._session = onnxruntime.InferenceSession(path, settings)
        self._sizes = sizes_of(config)

    def logits(self, embeddings: Float32, steps: Sequence[int]) -> Float32:
        """Logits [B, T, V] of input rows [B, T, D], fed in steps of these lengths."""
        sizes, batch = self._sizes, len(embeddings)
        # More cache positions than are used: what lies behind is rubbish to the end.
        shape = (batch, sizes.kv_heads, sum(steps) + 3, sizes.head_size)
        names = [f"{part}.{i}" for i in range(sizes.layers) for part in ("key", "value")]
        caches = {name: np.full(shape, 50, np.float32) for name in names}
        parts, done = [], 0
        for count in steps:
            rows = np.tile(np.arange(count), (batch, 1))
            inputs = {
                "inputs_embeds": embeddings[:, done : done + count],
                "position_ids": done + rows,
                "write_index": np.full(batch, done),
                "kv_length": np.full(batch, done + count),
                "logit_rows": rows,
                **{f"past_{name}": cache for name, cache in caches.items()},
            }
            outputs = ["logits", *(f"present_{name}" for name in names)]
            logits, *written = self._session.run(outputs, inputs)
            caches = dict(zip(names, written, strict=True))
            parts.append(logits)
            done += count
        return np.concatenate(parts, axis=1)


def random_rows(config: PretrainedConfig, length: int, *, cells: int = 2) -> torch.Tensor:
    """Input rows [cells, length, D] as large as a tiny decoder's token rows."""
    draw = torch.Generator().manual_seed(length)
    return 0.3 * torch.randn(cells, length, int(config.hidden_size), generator=draw)


def check_against_transformers(model: PreTrainedModel, folder: Path) -> None:
    """Compare prefill and steps of the graph with one full pass of the model."""
    path = write_tiny_graph(model, folder)
    onnx.checker.check_model(path, full_check=True)
    check_graph(path)
    run = GraphRun(path, model.config)
    for steps in WAYS:
        rows = random_rows(model.config, sum(steps))
        expected = model(inputs_embeds=rows).logits.numpy()
        difference = np.abs(run.logits(rows.numpy(), steps) - expected).max()
        assert difference < LOGITS, (steps, difference)


def read_changed(
    family: str, folder: Path, *, drop: Sequence[str] = (), **changes: Any
) -> PretrainedConfig:
    """Read a family's config.json with some fields changed."""
    fields = tiny_config(family).to_dict() | changes
    fields = {name: value for name, value in fields.items() if name not in drop}
    (folder / "config.json").write_text(json.dumps(fields))
    return read_decoder_config(folder)
