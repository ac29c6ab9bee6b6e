"""Checkpoints after public reports: made by shared generators, run through their own bundles.

As a script, `field_checkpoints.py GENERATORS TARGET NAME...` makes them: libraries are imported
once, and each is made in a process of its own, as generators change what they import.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(os.environ.get("C2T_SHARED_CASES", Path(__file__).parents[3] / "shared" / "cases"))
GENERATORS = ROOT / "checkpoints"


@dataclass(frozen=True)
class FieldCheckpoint:
    """One of them: how it is exported, and what PyTorch gave."""

    args: dict[str, Any]
    cells: list[list[int]]
    tokens: list[list[int]] | None
    logits: np.ndarray | None  # [cells, V] of the first new token


def read_field_checkpoint(folder: Path) -> FieldCheckpoint:
    """Read what a generator wrote."""
    from c2t.export.checkpoint.options import CheckpointOptions

    spec = json.loads((folder / "expected.json").read_text())
    kinds = {field.name: str(field.type) for field in fields(CheckpointOptions)}
    args = {}
    for option, value in zip(spec["args"][::2], spec["args"][1::2], strict=True):
        name = option.removeprefix("--").replace("-", "_")
        makers = {"Path": Path, "int": int, "float": float}
        make = next((make for kind, make in makers.items() if kind in kinds[name]), str)
        args[name] = make(value)
    numbers = folder / "expected.npz"
    logits = np.load(numbers)["logits"] if numbers.is_file() else None
    return FieldCheckpoint(args, spec["cells"], spec.get("tokens"), logits)


def bundle_logits(folder: Path, cell: list[int]) -> np.ndarray:
    """Logits [V] of the first new token of a cell, by the graphs of a bundle alone."""
    from safetensors.numpy import load_file

    from c2t.export.encoders.geneformer import embed_with_tables
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.engine_protocol import EngineOptions
    from c2t.runtime.engines.cpu.session import open_session

    bundle = open_bundle(folder, verify=False)
    manifest, options = bundle.manifest, EngineOptions(threads=1)
    tables = load_file(folder / "gene_embedding.safetensors")
    epsilon = SimpleNamespace(layer_norm_eps=manifest.gene_input.layer_norm_epsilon)
    rows = embed_with_tables(epsilon, tables, np.array([cell]))
    (rows,) = open_session(folder / "encoder.onnx", options).run(None, {"embeddings": rows})
    (vectors,) = open_session(folder / "projector.onnx", options).run(None, {"hidden": rows})
    table, prompt = bundle.token_embedding, manifest.prompt
    parts = (table[list(prompt.prefix_ids)], vectors[0], table[list(prompt.suffix_ids)])
    rows = np.concatenate(parts)[None].astype(np.float32)
    length, sizes = rows.shape[1], manifest.decoder
    caches = np.zeros((1, sizes.kv_heads, length, sizes.head_size), np.float32)
    inputs = {
        "inputs_embeds": rows,
        "position_ids": np.arange(length)[None],
        "write_index": np.array([0]),
        "kv_length": np.array([length]),
        "logit_rows": np.array([[length - 1]]),
    }
    for layer in range(sizes.layers):
        inputs |= {f"past_key.{layer}": caches, f"past_value.{layer}": caches}
    logits: np.ndarray = open_session(folder / "decoder.onnx", options).run(["logits"], inputs)[0]
    return logits[0, 0]


def make(generators: Path, target: Path, names: list[str]) -> None:
    """Make checkpoints in folders of their names; what a generator prints goes to `NAME.log`."""
    import accelerate  # noqa: F401  (imported once, before the processes part)
    import peft  # noqa: F401
    import torch
    from transformers import BertForMaskedLM, LlamaForCausalLM  # noqa: F401

    torch.set_num_threads(1)
    for name in names:
        process = os.fork()
        if process == 0:
            with (target / f"{name}.log").open("w") as log, contextlib.redirect_stdout(log):
                sys.argv = ["_make.py", name, str(target / name)]
                runpy.run_path(str(generators / "_make.py"), run_name="__main__")
            os._exit(0)
        os.waitpid(process, 0)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
