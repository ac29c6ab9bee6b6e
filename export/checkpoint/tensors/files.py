"""Files of tensors, read as they lie: safetensors or torch.save, one file or shards.

One decision: tensors are views of memory-mapped files. A value is read from disk when it is first
used, so a checkpoint is never held in memory twice.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from c2t.export.checkpoint.configs import read_json
from c2t.runtime.system.errors import CheckpointError

_NESTED = ("model_state_dict", "state_dict")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a file of tensors.

    Args:
        path: `*.safetensors`, or a file written by `torch.save`: a state dict, plain or under
            `model_state_dict` or `state_dict`.

    Returns:
        The tensors by name, and where they were: "safetensors", "plain", or the nesting key.

    Raises:
        CheckpointError: The file is missing, unreadable, or holds something else.
    """
    if not path.is_file():
        problem = f"no such file: {path}"
        raise CheckpointError(problem, hint="check the path")
    if path.suffix == ".safetensors":
        return _read_safetensors(path), "safetensors"
    stored = _read_torch(path)
    kind = "plain"
    if isinstance(stored, Mapping):
        kind = next((key for key in _NESTED if isinstance(stored.get(key), Mapping)), "plain")
        if kind != "plain":
            stored = stored[kind]
    tensors = dict(stored) if isinstance(stored, Mapping) else {}
    strangers = [str(name) for name, value in tensors.items() if not isinstance(value, Tensor)]
    if not tensors or strangers:
        problem = f"{path} is no state dict"
        if strangers:
            problem += ": not tensors: " + ", ".join(strangers)
        raise CheckpointError(
            problem, hint="expected tensors by name, plain or under `model_state_dict`"
        )
    return tensors, kind


def read_model_folder(folder: Path) -> tuple[dict[str, Tensor], list[Path]]:
    """Read the weights of a Hugging Face model folder, whichever way they are stored.

    Returns:
        The tensors by name, and the files they came from.

    Raises:
        CheckpointError: The folder has no weights, or a shard is missing.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_tensors(folder / name)[0], [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_shards(folder, index)
    problem = f"{folder} holds no weights"
    raise CheckpointError(
        problem, hint="expected model.safetensors or pytorch_model.bin, whole or in shards"
    )


def _read_shards(folder: Path, index: Path) -> tuple[dict[str, Tensor], list[Path]]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        problem = f"{index} has no `weight_map`"
        raise CheckpointError(problem, hint="download the folder again")
    tensors: dict[str, Tensor] = {}
    files = []
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            problem = f"{index} names a shard outside its folder: {name}"
            raise CheckpointError(problem, hint="download the folder again")
        tensors |= read_tensors(folder / name)[0]
        files.append(folder / name)
    lacking = sorted(places.keys() - tensors.keys())
    if lacking:
        problem = f"{folder}: tensors named in {index.name} are in no shard: " + ", ".join(lacking)
        raise CheckpointError(problem, hint="download the folder again")
    return tensors, files


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as stored:
            names = stored.keys()  # it is no mapping, and cannot be iterated over
            return {name: stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        problem = f"{path} is no readable safetensors file: {error}"
        raise CheckpointError(problem, hint="download or save it again") from error


def _read_torch(path: Path) -> Any:
    """Load with `weights_only`, which admits tensors and plain containers, never code."""
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            # Files of torch < 1.6 are no zip archives and cannot be mapped.
            if "mmap" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        first = str(error).partition("\n")[0]
        problem = f"cannot read {path} as weights: {first}"
        raise CheckpointError(
            problem, hint="only files of tensors are read; anything else could run code"
        ) from error
