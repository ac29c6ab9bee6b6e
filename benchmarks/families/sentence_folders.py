"""What the benchmark of gene sentences is run on: model, bundle, INT8 bundle and GGUF file.

One decision: each is made in a process of its own, appears under its name when it is whole, and is
never made twice. So a run that was ended goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 0
# Of a sentence. The letters of a gene's name are tokens here, so the prompts of real cells have 900
# or so, as those of 200 genes have with a published tokenizer.
GENES = 150
# INT8 for its speed: few cells, and nothing that would only choose better numbers.
CALIBRATION = (
    *("--cells-count", "4", "--gate-cells", "2", "--least-agreement", "0"),
    *("--accuracy-tolerance", "100", "--similarity-tolerance", "100"),
    *("--divergence-products", "0", "--force-gate"),
)
SPREAD = 0.02  # of weights
# Weights of norms, where they are not around one. Gemma-2's are scales less one, and scales of two
# would lift rounding, layer by layer, above what an export may differ from PyTorch (5e-4 at 2B).
NORMS = {"gemma2": -0.75}
C2T = "from c2t.cli import main; main()"
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
) -> Iterator[tuple[str, dict[str, float]]]:
    """Make what is missing; yields each stage and what it took when it is done.

    Args:
        preset: See `c2t.export.decoders.families.PRESETS`.
        folders: Where it goes.
        cells: Real cells.
        answer: Default length of an answer, in text tokens.
        threads: Of the calibration.
        gguf: Whether llama.cpp's file is wanted.
    """
    folders.place.mkdir(parents=True, exist_ok=True)
    model, bundle, int8 = (str(path) for path in (folders.model, folders.bundle, folders.int8))
    if not (folders.model / "config.json").is_file():
        yield "model", _run(_here("write_model"), preset, model)
    if gguf and not folders.gguf.is_file():
        yield "gguf", _run(_here("write_peer_file"), model, str(folders.gguf))
    if not folders.bundle.is_dir():
        words = ["export", "--family", "cell2sentence", "--model", model, "-o", bundle]
        words += ["--cells", str(cells), "--top-genes", str(GENES)]
        yield "export", _run(C2T, *words, "--max-new-tokens", str(answer))
    if not folders.int8.is_dir():
        words = ["calibrate", bundle, str(cells), "-o", int8, *CALIBRATION]
        yield "calibrate", _run(C2T, *words, "--threads", str(threads))
    yield "pack", _run(C2T, "build", int8, "--target", "cpu")


def _run(program: str, *arguments: str) -> dict[str, float]:
    """Run a program in a new process: its seconds, and the most bytes that it held, mapped or not.

    Args:
        program: In Python.
        arguments: Its `sys.argv[1:]`.
    """
    since = time.perf_counter()
    command = [sys.executable, "-P", "-c", program, *arguments]
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        message = f"{program} {' '.join(arguments)}: failed with {process.returncode}"
        raise SystemExit(message)
    seconds = round(time.perf_counter() - since, 1)
    return {"seconds": seconds, "peak_bytes": used.ru_maxrss << 10}


def _here(function: str) -> str:
    """A program that calls a function of this module."""
    return f"import sys; from {__name__} import {function}; {function}(*sys.argv[1:])"


def write_model(preset: str, place: str) -> None:
    """A model with random weights, in shards of float32, which are mapped wherever they are used.

    config.json is written last: a folder with it is whole.
    """
    import torch
    from safetensors.torch import save_file

    from c2t.export.checkpoint.tensors.assembly import build_empty
    from c2t.export.decoders.families import PRESETS, decoder_family

    config, folder = PRESETS[preset](), Path(place)
    model = build_empty(decoder_family(config.model_type), config)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = prompt_tokenizer(config.vocab_size)
    tokenizer.save_pretrained(folder)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.save_pretrained(folder)
    draw = torch.Generator().manual_seed(SEED)
    norm = NORMS.get(config.model_type, 1.0)
    places: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}

    def write_shard() -> None:
        name = f"model-{len(set(places.values())) + 1:05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        places.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, parameter in model.named_parameters():  # tied ones come once
        if parameter.dim() == 1:
            values = torch.full(parameter.shape, norm if name.endswith("weight") else 0.0)
        else:
            values = torch.randn(parameter.shape, generator=draw).mul_(SPREAD)
        shard[name] = values
        if sum(tensor.nbytes for tensor in shard.values()) >= SHARD_BYTES:
            write_shard()
    write_shard()
    index = json.dumps({"metadata": {}, "weight_map": places}, indent=1)
    (folder / "model.safetensors.index.json").write_text(index)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)


def prompt_tokenizer(size: int) -> Any:
    """Byte-pair encoding that has learned the words of the published prompt, and no gene.

    So what all prompts begin with has as few tokens as with a published tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from c2t.export.cell2sentence.published import DEFAULT, TEMPLATES

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = TEMPLATES[DEFAULT].format(num_genes=GENES, organism="Homo sapiens", cell_sentence="")
    learned.train_from_iterator([text] * 3, trainer)
    model = json.loads(learned.to_str())["model"]
    words = model["vocab"]
    # A model can write a filler. No text is read as one, as no merge leads to it.
    words |= {f"Ġfiller{token}": token for token in range(len(words), size - 1)}
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", clean_up_tokenization_spaces=False
    )


def write_peer_file(model: str, place: str) -> None:
    """llama.cpp's file of the same weights in Q8_0."""
    from c2t.export.peers.gguf_file import write_gguf

    partly = Path(f"{place}.part")
    write_gguf(load_decoder(Path(model)), partly, quantised=True)
    partly.rename(place)


def load_decoder(model: Path) -> Any:
    """The PyTorch model, its weights mapped."""
    from c2t.export.cell2sentence.outline import outline_sentences
    from c2t.export.checkpoint.options import CheckpointOptions

    options = CheckpointOptions(family="cell2sentence", model=model, top_genes=GENES)
    return outline_sentences(options).load().model.decoder
