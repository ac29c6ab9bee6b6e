"""Files of torch.save: loaded without running code, and searched for their one set of weights.

One decision: besides tensors and plain containers a file may hold what training scripts put beside
them and what cannot run code: NumPy numbers, an argparse.Namespace, paths.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle
import re
import struct
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from c2t.export.checkpoint.tensors.first_bytes import ZIP, kind_of_file
from c2t.runtime.system.errors import CheckpointError

_Stored = Mapping[Any, Any]
SAVE_STATE = "save the weights alone: torch.save(model.state_dict(), FILE)"
# What torch.load, the only call that is guarded so, raises for damaged files: its reader of pickles
# looks nothing up with care.
_LOAD_ERRORS = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError),
    *(TypeError, AttributeError, AssertionError, struct.error, OverflowError),
)
_OPTIMISER = re.compile(r"optim|sched|scaler", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"GLOBAL (\S+)|class (\S+) was not|function (\S+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def read_torch_file(path: Path) -> tuple[dict[str, Tensor], str, dict[str, Any]]:
    """Read the weights of a file of torch.save.

    Returns:
        The tensors by name; the key that they were under, or "plain"; and what lies beside them.

    Raises:
        CheckpointError: It cannot be read, holds other objects, or not exactly one set of weights.
    """
    stored = _load(path)
    if not isinstance(stored, Mapping):
        problem = f"{path} is no state dict: it holds one {type(stored).__name__}"
        raise CheckpointError(problem, hint=SAVE_STATE)
    sets = dict(_sets_of_weights(stored, ""))
    if len(sets) > 1:
        problem = f"{path} holds {len(sets)} sets of weights: {', '.join(sets)}"
        raise CheckpointError(problem, hint=f"{SAVE_STATE}, of the model that is to be exported")
    key, tensors = next(iter(sets.items()), ("plain", stored))
    strangers = [str(name) for name, value in tensors.items() if not isinstance(value, Tensor)]
    if strangers or not tensors:
        problem = f"{path} is no state dict"
        problem += f": not tensors: {', '.join(strangers[:10])}" if strangers else ": it is empty"
        hint = "expected tensors by name, plain or under one key like `model_state_dict`"
        raise CheckpointError(problem, hint=hint)
    beside = {str(name): value for name, value in stored.items() if name != key.split(".")[0]}
    weights = {str(name): tensor for name, tensor in tensors.items()}
    return weights, key, beside if key != "plain" else {}


def _sets_of_weights(stored: _Stored, key: str) -> Iterator[tuple[str, _Stored]]:
    """Every nested mapping of weights, by the keys that lead to it; optimisers are left out."""
    if key and _is_set_of_weights(stored):
        yield key, stored
        return
    for name, value in stored.items():
        if isinstance(value, Mapping) and not _OPTIMISER.search(str(name)):
            yield from _sets_of_weights(value, f"{key}.{name}" if key else str(name))


def _is_set_of_weights(stored: _Stored) -> bool:
    """Whether all values are tensors, and not only numbers or states of a random generator."""
    tensors = [value for value in stored.values() if isinstance(value, Tensor)]
    return len(tensors) == len(stored) and any(
        tensor.dim() > 1 or not tensor.numel() for tensor in tensors
    )


def _load(path: Path) -> Any:
    """Load with `weights_only`, which admits tensors and plain containers, never code."""
    kind, hint = kind_of_file(path)
    if kind != ZIP and kind:
        problem = f"cannot read {path} as weights: it is {kind}"
        raise CheckpointError(problem, hint=hint)
    try:
        with torch.serialization.safe_globals(_harmless()):
            if path.suffix == ".safetensors":  # torch.load goes by this name, whatever is in it
                with path.open("rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == ZIP)
            except RuntimeError as error:
                # Archives that older versions wrote cannot be mapped.
                if "mmap" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)
    except _LOAD_ERRORS as error:
        raise _unreadable(path, kind, str(error)) from error


def _unreadable(path: Path, kind: str, text: str) -> CheckpointError:
    """Why a file cannot be read, without the library's advice to run what is in it."""
    match = _UNSUPPORTED.search(text)
    if match:
        name = next(group for group in match.groups() if group)
        problem = f"cannot read {path} as weights: it holds an object of Python, {name}"
        return CheckpointError(problem, hint=f"that could run code; {SAVE_STATE}")
    if kind == ZIP:
        first = _COLOURS.sub("", text).partition("\n")[0].partition(". ")[0]
        problem = f"cannot read {path} as weights: the file is damaged or was cut short ({first})"
        return CheckpointError(problem, hint="download or save it again")
    problem = f"cannot read {path} as weights: it is no file of torch.save, or damaged"
    return CheckpointError(problem, hint="pass a file of torch.save or safetensors")


def _harmless() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What may be in a file beside tensors: it holds values and runs nothing."""
    scalar = np.float64(0).__reduce__()[0]
    array = np.zeros(1).__reduce__()[0]
    assert callable(scalar)
    assert callable(array)
    dtypes = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGSUOMm"}
    return [
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        *((array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        np.ndarray,
        np.dtype,
        *dtypes,
        argparse.Namespace,
        types.SimpleNamespace,
        collections.defaultdict,
        pathlib.PurePosixPath,
        pathlib.PosixPath,
        *(dict, list, int, float),
    ]
