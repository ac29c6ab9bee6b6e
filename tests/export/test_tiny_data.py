"""The committed tiny models are those that their script writes today."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file
from tiny_data import DATA
from tolerance import FLOAT32_FEW

CLOSE = FLOAT32_FEW  # another machine's PyTorch may round random numbers differently
# What other scripts write.
OTHERS = ("format_1", "published_sentences.json", "tiny_questions.json")
# Facts about one moment and one machine; a number that is rounded otherwise has other digits.
FREE = {"c2t_version", "sha256", "bytes"}


def same_json(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        pairs = (same_json(ours[name], theirs.get(name)) for name in ours.keys() - FREE)
        return ours.keys() == theirs.keys() and all(pairs)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same_json, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return abs(ours - theirs) <= CLOSE
    return bool(ours == theirs)


def same_tensors(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    def same(a: np.ndarray, b: np.ndarray) -> bool:
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bool(np.allclose(a, b, 0, CLOSE) if a.dtype.kind == "f" else (a == b).all())

    return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)


def graph_and_tensors(path: Path) -> tuple[bytes, dict[str, np.ndarray]]:
    model = onnx.load(path)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    del model.graph.initializer[:]
    return model.SerializeToString(), tensors


def same_file(ours: Path, theirs: Path) -> bool:
    if ours.read_bytes() == theirs.read_bytes():
        return True
    if ours.suffix == ".json":
        return same_json(json.loads(ours.read_bytes()), json.loads(theirs.read_bytes()))
    if ours.suffix == ".safetensors":
        return same_tensors(load_file(ours), load_file(theirs))
    if ours.suffix == ".npz":
        with np.load(ours) as a, np.load(theirs) as b:
            return same_tensors(dict(a), dict(b))
    if ours.suffix == ".onnx":
        (graph, tensors), (other, others) = graph_and_tensors(ours), graph_and_tensors(theirs)
        return graph == other and same_tensors(tensors, others)
    # A graph's weights are compared with the graph.
    return ours.name.endswith(".onnx.data") and ours.stat().st_size == theirs.stat().st_size


def files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    names = (path.relative_to(folder) for path in found if path.suffix != ".py")
    return sorted(str(name) for name in names if name.parts[0] not in OTHERS)


@pytest.mark.slow
def test_the_script_writes_what_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")  # the script sets it; restored afterwards
    runpy.run_path(str(DATA / "make_tiny_data.py"))["main"](tmp_path)
    assert files(tmp_path) == files(DATA)
    changed = [name for name in files(DATA) if not same_file(tmp_path / name, DATA / name)]
    assert not changed, "run tests/data/make_tiny_data.py as its first lines say"


def test_what_counts_as_the_same() -> None:
    assert same_json({"a": [1, 0.5], "sha256": "x"}, {"a": [1, 0.5 + 1e-9], "sha256": "y"})
    assert not same_json({"a": [1, 0.5]}, {"a": [1, 0.6]})
    assert not same_json({"a": 1}, {"a": 1, "b": 2})
    one, other = {"w": np.zeros(2)}, {"w": np.full(2, 1e-3)}
    assert same_tensors(one, one)
    assert not same_tensors(one, other)
