"""What the benchmark of gene sentences is run on: model, bundle, INT8 bundle and GGUF file.

One decision: each is made in a process of its own, appears under its name when it is whole, and is
never made twice. So a run that was ended goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 0
GENES = 100  # of a sentence: letters are tokens here, so the prompts of real cells have 900 or so
# INT8 for its speed: few cells, and nothing that would only choose better numbers.
CALIBRATION = (
    *("--cells-count", "4", "--gate-cells", "2", "--least-agreement", "0"),
    *("--accuracy-tolerance", "100", "--similarity-tolerance", "100"),
    *("--divergence-products", "0", "--force-gate"),
)
SHARD_BYTES = 1 << 30  # a shard of the model is in memory while it is written


@dataclass(frozen=True)
class Folders:
    """What lies where, of one preset."""

    place: Path

    @property
    def model(self) -> Path:
        """As it could have been downloaded."""
        return self.place / "model"

    @property
    def bundle(self) -> Path:
        """The float32 bundle."""
        return self.place / "bundle"

    @property
    def int8(self) -> Path:
        """The INT8 bundle."""
        return self.place / "int8"

    @property
    def gguf(self) -> Path:
        """llama.cpp's file."""
        return self.place / "model.gguf"


def make(
    preset: str, folders: Folders, cells: Path, *, answer: int, threads: int, gguf: bool
) -> Iterator[tuple[str, float]]:
    """Make what is missing; yields each stage and its seconds when it is done.

    Args:
        preset: See `c2t.export.decoders.families.PRESETS`.
        folders: Where it goes.
        cells: Real cells.
        answer: Default length of an answer, in text tokens.
        threads: Of the calibration.
        gguf: Whether llama.cpp's file is wanted.
    """
    folders.place.mkdir(parents=True, exist_ok=True)
    if not (folders.model / "config.json").is_file():
        yield "model", _in_process(write_model, preset, folders.model)
    if gguf and not folders.gguf.is_file():
        yield "gguf", _in_process(write_peer_file, folders.model, folders.gguf)
    if not folders.bundle.is_dir():
        yield (
            "export",
            _c2t(
                *("export", "--family", "cell2sentence", "--model", str(folders.model)),
                *("-o", str(folders.bundle), "--cells", str(cells), "--top-genes", str(GENES)),
                *("--max-new-tokens", str(answer)),
            ),
        )
    if not folders.int8.is_dir():
        words = ("calibrate", str(folders.bundle), str(cells), "-o", str(folders.int8))
        yield "calibrate", _c2t(*words, *CALIBRATION, "--threads", str(threads))


def _in_process(work: Callable[..., None], *arguments: Any) -> float:
    """Run a function in a new process, which takes its memory with it; seconds."""
    since = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        message = f"{work.__name__} failed with {process.exitcode}"
        raise SystemExit(message)
    return time.perf_counter() - since


def _c2t(*arguments: str) -> float:
    """Run a command of c2t; seconds."""
    since = time.perf_counter()
    program = [sys.executable, "-P", "-c", "from c2t.cli import main; main()"]
    done = subprocess.run([*program, *arguments], check=False, stdout=sys.stderr)
    if done.returncode:
        message = f"c2t {arguments[0]} failed with {done.returncode}"
        raise SystemExit(message)
    return time.perf_counter() - since


def write_model(preset: str, folder: Path) -> None:
    """A model with random weights, in shards of float32, which are mapped wherever they are used.

    config.json is written last: a folder with it is whole.
    """
    import torch
    from safetensors.torch import save_file

    from c2t.export.checkpoint.preset import synthetic_tokenizer
    from c2t.export.checkpoint.tensors.assembly import build_empty
    from c2t.export.decoders.families import PRESETS, decoder_family

    config = PRESETS[preset]()
    model = build_empty(decoder_family(config.model_type), config)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = synthetic_tokenizer(config.vocab_size)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.save_pretrained(folder)
    block = torch.randn((1 << 22) + 1, generator=torch.Generator().manual_seed(SEED)) * 0.02
    places: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}

    def write_shard() -> None:
        name = f"model-{len(set(places.values())) + 1:05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        places.update(dict.fromkeys(shard, name))
        shard.clear()

    start = 0
    for name, parameter in model.named_parameters():  # tied ones come once
        count = parameter.numel()
        if parameter.dim() == 1:
            values = torch.full((count,), 1.0 if name.endswith("weight") else 0.0)
        else:
            values = block.roll(-start).repeat(-(-count // len(block)))[:count]
            start = (start + count) % len(block)
        shard[name] = values.reshape(parameter.shape).contiguous()
        if sum(tensor.nbytes for tensor in shard.values()) >= SHARD_BYTES:
            write_shard()
    write_shard()
    index = json.dumps({"metadata": {}, "weight_map": places}, indent=1)
    (folder / "model.safetensors.index.json").write_text(index)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)


def write_peer_file(model: Path, path: Path) -> None:
    """llama.cpp's file of the same weights in Q8_0."""
    from c2t.export.peers.gguf_file import write_gguf

    partly = path.with_suffix(".part")
    write_gguf(load_decoder(model), partly, quantised=True)
    partly.rename(path)


def load_decoder(model: Path) -> Any:
    """The PyTorch model, its weights mapped."""
    from c2t.export.cell2sentence.outline import outline_sentences
    from c2t.export.checkpoint.options import CheckpointOptions

    options = CheckpointOptions(family="cell2sentence", model=model, top_genes=GENES)
    return outline_sentences(options).load().model.decoder
