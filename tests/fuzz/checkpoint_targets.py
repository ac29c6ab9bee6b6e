"""Broken checkpoints: weights, configs, tokenizers and dictionaries of tiny ones. Needs torch."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from random import Random
from typing import Any

import tiny_models
import torch
from changes import change_bytes, change_json, encode
from child import Target
from safetensors.torch import load_file, save_file

from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions

_BASE: list[Path] = []


def prepare_checkpoints(folder: Path) -> None:
    """Write the folders that are broken, once, in the parent."""
    torch.set_num_threads(1)  # threads do not survive a fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiny_models.write_base_folders(folder)
    model = tiny_models.ReferenceLayout(tiny_models.tiny_model(seed=7))
    torch.save(model.state_dict(), folder / "trained.pt")
    _BASE[:] = [folder]


def _make_checkpoint(folder: Path, random: Random) -> Path:
    place = folder / "checkpoint"
    shutil.copytree(_BASE[0], place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    trained = place / "trained.pt"
    if random.random() < 0.35:
        _change_state(trained, random)
        return place
    path = random.choice(files)
    if path.suffix == ".json" and random.random() < 0.85:
        path.write_bytes(encode(change_json(json.loads(path.read_bytes()), random), random))
    elif path.suffix == ".safetensors" and random.random() < 0.6:
        tensors = load_file(path)
        name = random.choice(list(tensors))
        tensors[name] = other_tensor(tensors[name], random)
        save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"format": "pt"})
    else:
        path.write_bytes(change_bytes(path.read_bytes(), random))
    return place


def _change_state(path: Path, random: Random) -> None:
    state: dict[Any, Any] = dict(torch.load(path, weights_only=True))
    name = random.choice(list(state))
    match random.randrange(9):
        case 0:
            del state[name]
        case 1:
            state[random.choice((1, None, "", "x", ("a",)))] = state[name]
        case 2:
            state[name] = random.choice(("x", 1, None, [1], {}, 1.5))
        case 3:
            torch.save(random.choice(([], 1, None, "x", {}, {"model": 1}, [state])), path)
            return
        case 4:
            path.write_bytes(random.choice((b"hello", b"", b"<html>", b"PK\x03\x04", b"\x80\x02.")))
            return
        case 5:
            path.write_bytes(change_bytes(path.read_bytes(), random))
            return
        case _:
            state[name] = other_tensor(state[name], random)
    torch.save(state, path)


def other_tensor(tensor: torch.Tensor, random: Random) -> torch.Tensor:
    """A tensor of another shape, kind or content."""
    kinds = (torch.float16, torch.int8, torch.int64, torch.bool, torch.complex64, torch.bfloat16)
    match random.randrange(8):
        case 0:
            return tensor[..., :-1].contiguous()
        case 1:
            return tensor.reshape(-1)
        case 2:
            return torch.full_like(tensor, random.choice((float("nan"), float("inf"), 1e38)))
        case 3:
            return torch.zeros(0)
        case 4:
            return torch.tensor(1.0)
        case _:
            return tensor.to(random.choice(kinds))


def use_checkpoint(folder: Path) -> None:
    """Load it as exporting does."""
    options = CheckpointOptions(
        geneformer=folder / "geneformer",
        llama=folder / "llama",
        checkpoint=folder / "trained.pt",
        system_message="Describe the cell.",
    )
    load_checkpoint(options)


def targets() -> list[Target]:
    """Of this file."""
    return [
        Target(
            name="checkpoints",
            make=_make_checkpoint,
            use=use_checkpoint,
            seconds=60.0,
            prepare=prepare_checkpoints,
        )
    ]
