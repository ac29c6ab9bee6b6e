"""Checkpoints of PyTorch Lightning: their state dict, read without running anything in the file.

One decision: such a file holds configs and optimisers as pickled objects beside its weights, which
`torch.load` either runs or refuses. Here the pickle is followed as data (`inert_pickle`), and only
tensors are taken from it: views of the mapped file, as everywhere in this room.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from c2t.export.checkpoint.tensors.first_bytes import SAFETENSORS, ZIP, kind_of_file
from c2t.export.checkpoint.tensors.inert_pickle import (
    Inert,
    PickleError,
    TensorReference,
    read_inert,
)
from c2t.runtime.system.errors import CheckpointError

PICKLE_BYTES_MAX = 64 << 20  # of a checkpoint of 160 M parameters with its optimiser: 300 KB
STATE = "state_dict"
_RECORD = "data.pkl"
_LOCAL_HEADER, _LOCAL_HEADER_BYTES = b"PK\x03\x04", 30
# NumPy knows no bfloat16: its bits are read, and named so afterwards.
_DTYPES: dict[str, tuple[str, torch.dtype]] = {
    "torch.FloatStorage": ("<f4", torch.float32),
    "torch.HalfStorage": ("<f2", torch.float16),
    "torch.BFloat16Storage": ("<i2", torch.bfloat16),
    "torch.DoubleStorage": ("<f8", torch.float64),
    "torch.LongStorage": ("<i8", torch.int64),
    "torch.IntStorage": ("<i4", torch.int32),
    "torch.ShortStorage": ("<i2", torch.int16),
    "torch.CharStorage": ("i1", torch.int8),
    "torch.ByteStorage": ("u1", torch.uint8),
    "torch.BoolStorage": ("?", torch.bool),
}
# What the standard library raises for archives that are damaged.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(OSError, ValueError, OverflowError),
)
_HINT = "download or save it again"


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """What was read.

    Attributes:
        tensors: By name; views of the mapped file.
        ignored: Kinds of Python objects beside them, none of which was made.
    """

    tensors: dict[str, Tensor]
    ignored: tuple[str, ...]


def read_state_dict(path: Path) -> StateDict:
    """Read the state dict of a file of `torch.save`, under the key `state_dict` or plain.

    Args:
        path: A zip archive, as `torch.save` and Lightning write since PyTorch 1.6.

    Raises:
        CheckpointError: It is missing, of another kind, damaged, or holds no state dict.
    """
    if not path.is_file():
        problem = f"no such file: {path}"
        raise CheckpointError(problem, hint="check the path")
    kind, hint = kind_of_file(path)
    if kind != ZIP:
        problem = f"cannot read {path} as a Lightning checkpoint: it is {kind or 'no zip archive'}"
        if kind == SAFETENSORS:
            hint = "name it `.safetensors`"
        raise CheckpointError(
            problem, hint=hint or "save it again with PyTorch 1.6 or newer, or as safetensors"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except _ZIP_ERRORS as error:
        problem = f"cannot read {path}: the file is damaged or was cut short ({error})"
        raise CheckpointError(problem, hint=_HINT) from error


def _read(path: Path, archive: zipfile.ZipFile) -> StateDict:
    entries = {info.filename: info for info in archive.infolist()}
    records = [name for name in entries if name == _RECORD or name.endswith(f"/{_RECORD}")]
    if len(records) != 1:
        problem = f"{path} is no file of torch.save: it has {len(records)} entries {_RECORD}"
        raise CheckpointError(problem, hint=_HINT)
    folder = records[0].removesuffix(_RECORD)
    order = entries.get(f"{folder}byteorder")
    if order is not None and (order.file_size > 8 or archive.read(order) != b"little"):
        problem = f"{path} was saved on a machine of another byte order"
        raise CheckpointError(problem, hint="save it again on a little-endian machine")
    record = entries[records[0]]
    if record.file_size > PICKLE_BYTES_MAX:
        problem = f"{records[0]} of {path} has {record.file_size:,} bytes"
        raise CheckpointError(problem, hint="save the state dict alone")
    try:
        stored, names = read_inert(archive.read(record))
    except PickleError as error:
        problem = f"cannot read {records[0]} of {path}: {error}"
        raise CheckpointError(problem, hint=_HINT) from error
    state = _state_of(path, stored)
    file = np.memmap(path, np.uint8, mode="c")  # copy on write: PyTorch asks for writable memory
    return StateDict(
        tensors={
            name: _tensor(path, file, entries, folder, name, reference)
            for name, reference in state.items()
        },
        ignored=tuple(sorted(names)),
    )


def _state_of(path: Path, stored: Any) -> dict[str, TensorReference]:
    """The entries of the state dict; each must be a tensor."""
    state = stored.get(STATE, stored) if isinstance(stored, dict) else stored
    if not isinstance(state, dict) or not state:
        problem = f"{path} holds no {STATE}: it holds one {_kind(state)}"
        raise CheckpointError(problem, hint="pass the .ckpt file of the training run")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, TensorReference):
            problem = f"{STATE} of {path}: {name!r:.80} is no tensor but a {_kind(value)}"
            raise CheckpointError(problem, hint="pass the .ckpt file of the training run")
    return state


def _kind(value: Any) -> str:
    return value.name if isinstance(value, Inert) else type(value).__name__


def _tensor(
    path: Path,
    file: np.memmap[Any, Any],
    entries: dict[str, zipfile.ZipInfo],
    folder: str,
    name: str,
    reference: TensorReference,
) -> Tensor:
    """A view of the mapped file.

    Raises:
        CheckpointError: Its numbers are not there as they are said to be.
    """
    storage = reference.storage
    info = entries.get(f"{folder}data/{storage.key}")
    code, dtype = _DTYPES.get(storage.kind, ("", None))
    problem = ""
    if dtype is None:
        problem = f"its numbers are of the kind {storage.kind}"
    elif info is None:
        problem = "its numbers are not in the file"
    elif info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        problem = "its numbers are compressed or encrypted"
    elif info.file_size != storage.numel * np.dtype(code).itemsize:
        problem = f"its {storage.numel:,} numbers have {info.file_size:,} bytes"
    elif _last(reference) >= storage.numel or math.prod(reference.size) > storage.numel:
        problem = f"its shape {list(reference.size)} is more than its {storage.numel:,} numbers"
    if problem or info is None or dtype is None:
        problem = f"tensor {name} of {path}: {problem}"
        raise CheckpointError(problem, hint=_HINT)
    start = _data_start(file, info)
    if start is None or start + info.file_size > len(file):
        problem = f"tensor {name} of {path}: its place in the archive is damaged"
        raise CheckpointError(problem, hint=_HINT)
    content = file[start : start + info.file_size]
    if start % np.dtype(code).alignment:
        content = content.copy()
    if not storage.numel:
        return torch.empty(reference.size, dtype=dtype)
    numbers = torch.from_numpy(content.view(code)).view(dtype)
    return numbers.as_strided(reference.size, reference.stride, reference.offset)


def _last(reference: TensorReference) -> int:
    """The place in the storage of the tensor's last number; -1 of an empty one."""
    if 0 in reference.size:
        return -1
    pairs = zip(reference.size, reference.stride, strict=True)
    return reference.offset + sum((size - 1) * stride for size, stride in pairs)


def _data_start(file: np.memmap[Any, Any], info: zipfile.ZipInfo) -> int | None:
    """Where the bytes of an entry begin: behind its own header, whose length only it says."""
    header = file[info.header_offset : info.header_offset + _LOCAL_HEADER_BYTES].tobytes()
    if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(_LOCAL_HEADER):
        return None
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + _LOCAL_HEADER_BYTES + int(name) + int(extra)
