"""Decoders of each family at published sizes, random weights: their graph beside transformers.

    python benchmarks/families/real_sizes.py qwen2.5-0.5b pythia-410m -o RESULT.json

Every preset is made, written and compared in a process of its own, whose peak memory is its own. It
takes about three times the float32 weights. Prompts of several lengths are fed in one run, in two
parts, and in steps; the largest difference of any logit counts, and the texts of a greedy search.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from c2t.export.checkpoint.preset import random_part
from c2t.export.decoders.families import PRESETS, decoder_family
from c2t.export.decoders.parts import sizes_of
from c2t.runtime.bench.record import finish, peak_resident_bytes, record, target
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session

SEED = 0
SPREAD = 0.02  # of random weights, and of random input rows
LENGTHS = (5, 128, 900)
TEXT = 8  # text tokens behind a prompt
TOLERANCE = 1e-4


def main() -> None:
    """Measure each preset in a fresh process, and keep the figures of what is done after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="+", choices=list(PRESETS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.presets[0], options.threads, options.lengths)))
        return
    document = record("families_real_sizes", threads=options.threads, seed=SEED)
    document["decoders"] = found = {}
    for preset in options.presets:
        command = [sys.executable, __file__, preset, "--here", f"--threads={options.threads}"]
        command += ["--lengths", *map(str, options.lengths)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        found[preset] = json.loads(done.stdout.strip().rpartition("\n")[2])
        print(preset, json.dumps(found[preset], indent=1), flush=True)
        targets = [
            target(f"{name}: 1e-4 over the largest difference", TOLERANCE / entry["difference"], 1)
            for name, entry in found.items()
        ]
        finish(document, targets, options.output)


def measure(preset: str, threads: int, lengths: list[int]) -> dict[str, Any]:
    """Figures of one preset."""
    torch.set_num_threads(threads)
    config = PRESETS[preset]()
    family = decoder_family(config.model_type)
    block = torch.randn((1 << 22) + 1, generator=torch.Generator().manual_seed(SEED)) * SPREAD
    model = random_part(family, config, block).eval().requires_grad_(False)
    result: dict[str, Any] = {"family": family.name, "parameters": model.num_parameters()}
    with TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "decoder.onnx"
        since = time.perf_counter()
        family.write_graph(model, path)
        result["write_s"] = round(time.perf_counter() - since, 1)
        result["weight_bytes"] = path.with_name(f"{path.name}.data").stat().st_size
        answers = {length: _answers(model, length) for length in lengths}
        table = model.get_input_embeddings().weight.numpy().copy()
        result["logit_spread"] = float(np.std(answers[lengths[0]][1]))
        del model
        gc.collect()
        session = open_session(path, EngineOptions(threads=threads, prepack=False))
        worst, same = 0.0, 0
        for length, (rows, logits, tokens) in answers.items():
            for steps in ([length], [length // 2, length - length // 2]):
                found, _ = _run(session, config, rows, steps)
                worst = max(worst, float(np.abs(found - logits).max()))
            same += _greedy(session, config, rows, table) == tokens
        result |= {"difference": worst, "texts_equal": same, "texts": len(answers)}
    result["peak_bytes"] = peak_resident_bytes()
    return result


def _answers(model: Any, length: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Input rows [1, T, D]; transformers' logits of the last row [V]; its greedy text."""
    draw = torch.Generator().manual_seed(length)
    rows = torch.randn(1, length, model.config.hidden_size, generator=draw) * SPREAD
    logits = model(inputs_embeds=rows, logits_to_keep=1).logits[0, -1].numpy().copy()
    text = model.generate(
        inputs_embeds=rows,
        attention_mask=torch.ones(rows.shape[:2], dtype=torch.long),
        max_new_tokens=TEXT,
        do_sample=False,
        pad_token_id=0,
    )
    return rows.numpy(), logits, text[0].tolist()


def _run(
    session: Any,
    config: Any,
    rows: np.ndarray,
    steps: list[int],
    caches: dict[str, np.ndarray] | None = None,
    done: int = 0,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits of the last row [V] after these steps, and the caches."""
    sizes = sizes_of(config)
    names = [f"{part}.{i}" for i in range(sizes.layers) for part in ("key", "value")]
    if caches is None:
        shape = (1, sizes.kv_heads, rows.shape[1] + TEXT, sizes.head_size)
        caches = {name: np.zeros(shape, np.float32) for name in names}
    start, logits = 0, np.empty(0)
    for count in steps:
        inputs = {
            "inputs_embeds": rows[:, start : start + count],
            "position_ids": done + np.arange(count)[None],
            "write_index": np.array([done]),
            "kv_length": np.array([done + count]),
            "logit_rows": np.array([[count - 1]]),
            **{f"past_{name}": cache for name, cache in caches.items()},
        }
        found, *written = session.run(["logits", *(f"present_{name}" for name in names)], inputs)
        caches, logits = dict(zip(names, written, strict=True)), found[0, -1]
        start, done = start + count, done + count
    return logits, caches


def _greedy(session: Any, config: Any, rows: np.ndarray, table: np.ndarray) -> list[int]:
    """Text tokens of a greedy search."""
    length = rows.shape[1]
    logits, caches = _run(session, config, rows, [length])
    tokens = [int(logits.argmax())]
    while len(tokens) < TEXT:
        row = table[tokens[-1]][None, None]
        at = length + len(tokens) - 1
        logits, caches = _run(session, config, row, [1], caches, at)
        tokens.append(int(logits.argmax()))
    return tokens


if __name__ == "__main__":
    main()
