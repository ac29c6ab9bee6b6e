"""The float32 encoder at V2-104M sizes, beside PyTorch doing the same pruned work.

Both run 11 of the 12 layers, and in the last of them only the rows that the projector sees.

    python benchmarks/encoder_attention.py -o benchmarks/results/encoder_attention.json
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

from c2t.export.checkpoint.open import load_bundle_source
from c2t.export.encoders.geneformer import write_encoder_graph
from c2t.export.model.model import Cell2TextModel
from c2t.runtime.bench.interleave import interleave, median_ratio, spread
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session

PRESET = "llama-tiny+geneformer-v2-104m"
SEED = 0
TOLERANCE = 1e-4


class PrunedTorch:
    """The layers that are needed, with PyTorch's fused attention; the last one for few rows."""

    def __init__(self, model: Cell2TextModel) -> None:
        self._layers = model.encoder.bert.encoder.layer[: model.layers_run]
        self._heads = int(model.encoder.config.num_attention_heads)
        self._rows = model.rows

    @torch.inference_mode()
    def __call__(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Hidden rows [B,K,H] of embeddings [B,S,H]."""
        hidden = embeddings
        for number, layer in enumerate(self._layers, 1):
            asked = hidden[:, : self._rows] if number == len(self._layers) else hidden
            attention = layer.attention.self
            query = self._split(attention.query(asked))
            key, value = self._split(attention.key(hidden)), self._split(attention.value(hidden))
            mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            hidden = layer.attention.output(mixed, asked)
            hidden = layer.output(layer.intermediate(hidden), hidden)
        return hidden

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(2, (self._heads, -1)).transpose(1, 2)


def main() -> None:
    """Check, then measure both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    document = record("encoder_attention", threads=options.threads, seed=SEED)
    document |= {"preset": options.preset, "genes": options.genes}
    model = load_bundle_source(None, options.preset).model
    draw = np.random.default_rng(SEED)
    width = int(model.encoder.config.hidden_size)
    embeddings = draw.standard_normal((1, options.genes, width), dtype=np.float32)
    reference = PrunedTorch(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        write_encoder_graph(model.encoder, path, emb_layer=model.emb_layer, rows=model.rows)
        engine = EngineOptions(threads=options.threads)
        sessions = {"c2t": open_session(path, engine)}
        mapped = EngineOptions(threads=options.threads, prepack=False)
        sessions["c2t, mapped"] = open_session(path, mapped)
        tensor = torch.from_numpy(embeddings)
        expected = reference(tensor).numpy()
        (hidden,) = sessions["c2t"].run(["hidden"], {"embeddings": embeddings})
        difference = float(np.abs(hidden - expected).max() / np.abs(expected).max())
        if not difference <= TOLERANCE:
            message = f"the encoder differs from PyTorch by {difference:.1e}"
            raise SystemExit(message)
        probe = SpeedProbe(options.threads)

        def run(name: str) -> object:
            return sessions[name].run(["hidden"], {"embeddings": embeddings})

        times = interleave(
            {
                "c2t": lambda: run("c2t"),
                "PyTorch, the same work": lambda: reference(tensor),
                "c2t, mapped": lambda: run("c2t, mapped"),
                "gemm": probe.multiply,
            },
            options.rounds,
        )
    gemm = [probe.flops_per_second(seconds) for seconds in times.pop("gemm")]
    document["largest_difference"] = difference
    document["gemm_flops_per_second"] = float(np.median(gemm))
    document["seconds"] = {name: asdict(spread(runs)) for name, runs in times.items()}
    ratio = median_ratio(times["PyTorch, the same work"], times["c2t"])
    document["times_faster_than"] = {"PyTorch, the same work": ratio}
    finish(document, [target("encoder, times PyTorch doing the same", ratio, 1.0)], options.output)


if __name__ == "__main__":
    main()
