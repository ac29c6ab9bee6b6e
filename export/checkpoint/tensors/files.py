"""Files of tensors, read as they lie: safetensors or torch.save, one file or shards.

One decision: tensors are views of memory-mapped files. A value is read from disk when it is first
used, so a checkpoint is never held in memory twice.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from c2t.export.checkpoint.configs import read_json
from c2t.export.checkpoint.tensors.first_bytes import SAFETENSORS, kind_of_file
from c2t.export.checkpoint.tensors.torch_file import read_torch_file
from c2t.runtime.system.errors import CheckpointError

_INDEX = ".index.json"
_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
# What folders of other tools hold in place of one state dict, and how to make one.
_SHARDED_STATES = {
    "zero_to_fp32.py": "a DeepSpeed folder; make a state dict of it: python zero_to_fp32.py . OUT",
    ".metadata": "a folder of torch.distributed.checkpoint; make a state dict of it: python -m "
    "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE",
}


@dataclass(frozen=True, kw_only=True)
class StoredTensors:
    """What was read.

    Attributes:
        tensors: By name.
        kind: "safetensors", "plain", or the key of a torch.save file that they were under.
        files: The files that were read.
        beside: What else a torch.save file holds, by key.
    """

    tensors: dict[str, Tensor]
    kind: str
    files: list[Path]
    beside: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path) -> StoredTensors:
    """Read a full checkpoint: a file, the index of its shards, or the folder that holds either.

    Raises:
        CheckpointError: It is missing or unreadable, or a folder with more than one checkpoint.
    """
    if path.is_dir():
        return _read_checkpoint_folder(path)
    if path.name.endswith(_INDEX):
        return _read_shards(path.parent, path)
    return read_tensors(path)


def _read_checkpoint_folder(folder: Path) -> StoredTensors:
    for name, words in _SHARDED_STATES.items():
        if (folder / name).is_file():
            problem = f"{folder} is no state dict"
            raise CheckpointError(problem, hint=f"it is {words}")
    files = [folder / name for name in _FOLDER_FILES]
    there = [file for file in files if file.is_file()] + sorted(folder.glob(f"*{_INDEX}"))
    if len(there) > 1:
        names = ", ".join(file.name for file in there)
        problem = f"{folder} holds {len(there)} checkpoints: {names}"
        raise CheckpointError(problem, hint=f"pass one of them: --checkpoint {there[0]}")
    if not there:
        problem = f"{folder} holds no checkpoint"
        hint = f"pass the file itself; in a folder, {' or '.join(_FOLDER_FILES)} is looked for"
        raise CheckpointError(problem, hint=hint)
    return read_checkpoint(there[0])


def read_tensors(path: Path) -> StoredTensors:
    """Read a file of tensors, by what it is and not by its name.

    Args:
        path: A safetensors file, or one written by `torch.save`: a state dict, plain or under a
            key.

    Raises:
        CheckpointError: The file is missing, unreadable, or holds something else.
    """
    if not path.is_file():
        problem = f"no such file: {path}"
        raise CheckpointError(problem, hint="check the path")
    kind, hint = kind_of_file(path)
    if kind == SAFETENSORS:
        tensors = _read_safetensors(path)
        return StoredTensors(tensors=tensors, kind="safetensors", files=[path])
    if path.suffix == ".safetensors":
        words = kind or "something else"
        problem = f"{path} is no readable safetensors file: it is {words}"
        if hint or not kind:
            raise CheckpointError(problem, hint=hint or "download or save it again")
    tensors, key, beside = read_torch_file(path)
    return StoredTensors(tensors=tensors, kind=key, files=[path], beside=beside)


def read_model_folder(folder: Path) -> StoredTensors:
    """Read the weights of a Hugging Face model folder, whichever way they are stored.

    Raises:
        CheckpointError: The folder has no weights, or a shard is missing.
    """
    for name in _FOLDER_FILES:
        if (folder / name).is_file():
            return read_tensors(folder / name)
        index = folder / f"{name}{_INDEX}"
        if index.is_file():
            return _read_shards(folder, index)
    problem = f"{folder} holds no weights"
    raise CheckpointError(
        problem, hint="expected model.safetensors or pytorch_model.bin, whole or in shards"
    )


def _read_shards(folder: Path, index: Path) -> StoredTensors:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        problem = f"{index} has no `weight_map`"
        raise CheckpointError(problem, hint="download the folder again")
    tensors: dict[str, Tensor] = {}
    files = []
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            problem = f"{index} names a shard outside its folder: {name}"
            raise CheckpointError(problem, hint="download the folder again")
        tensors |= read_tensors(folder / name).tensors
        files.append(folder / name)
    lacking = sorted(places.keys() - tensors.keys())
    if lacking:
        problem = f"{folder}: tensors named in {index.name} are in no shard: " + ", ".join(lacking)
        raise CheckpointError(problem, hint="download the folder again")
    return StoredTensors(tensors=tensors, kind=f"{len(files)} shards", files=files)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as stored:
            names = stored.keys()  # it is no mapping, and cannot be iterated over
            return {name: stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        problem = f"{path} is no readable safetensors file: {error}"
        raise CheckpointError(problem, hint="download or save it again") from error
