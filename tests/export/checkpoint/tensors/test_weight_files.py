"""Files of weights are read by what they are; what is none is said to be what it is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_checkpoints import MLP, load, logits, trained
from safetensors.torch import save_file
from tiny_models import ReferenceLayout, write_base_folders

from c2t.export.checkpoint.tensors.files import read_checkpoint, read_tensors
from c2t.runtime.system.errors import CheckpointError

TABLE = {"a": torch.ones(2, 2)}


@pytest.mark.parametrize(
    ("content", "words", "hint"),
    [
        (b"", "empty", "again"),
        (b"GGUF\x03\0\0\0" + bytes(64), "GGUF", "PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page", "links"),
        (b'{"weight_map": {}}', "JSON text", "index"),
        (b"epoch 3, loss 0.5\n", "text, not weights", "torch.save"),
        (b"\x1f\x8b\x08\0", "gzip", "gunzip"),
        (bytes(100), "zero bytes", "again"),
        (b"PK\x03\x04" + bytes(100), "damaged or was cut short", "again"),
    ],
)
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_what_is_no_file_of_weights(
    tmp_path: Path, name: str, content: bytes, words: str, hint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_tensors(tmp_path / name)
    assert hint in caught.value.hint
    assert "weights_only" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_bare_pickle_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"\x80\x02c__builtin__\neval\n(S'1'\ntR.")
    with pytest.raises(CheckpointError, match=r"object of Python|no file of torch\.save"):
        read_tensors(tmp_path / "a.pt")


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    save_file(TABLE, tmp_path / "a.pt")
    torch.save(TABLE, tmp_path / "a.safetensors")
    for name, kind in (("a.pt", "safetensors"), ("a.safetensors", "plain")):
        stored = read_tensors(tmp_path / name)
        assert stored.kind == kind
        assert torch.equal(stored.tensors["a"], TABLE["a"])
    path = tmp_path / "a.pt"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="safetensors"):
        read_tensors(path)


@pytest.mark.parametrize("key", ["state_dict", "model", "module", "net"])
def test_weights_beside_what_a_training_script_keeps(tmp_path: Path, key: str) -> None:
    beside = {
        "val_loss": np.mean([0.5, 0.7]),
        "history": np.zeros(3),
        "args": argparse.Namespace(lr=1e-4, out=tmp_path),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2, 2)}}},
        "callbacks": {"best": {"score": torch.tensor(0.5)}},
        "rng": torch.get_rng_state(),
    }
    torch.save({key: TABLE, **beside}, tmp_path / "a.pt")
    stored = read_tensors(tmp_path / "a.pt")
    assert stored.kind == key
    assert torch.equal(stored.tensors["a"], TABLE["a"])
    assert stored.beside["args"].lr == 1e-4


def test_two_sets_of_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"model": TABLE, "model_ema": TABLE}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="2 sets of weights: model, model_ema"):
        read_tensors(tmp_path / "a.pt")


def test_a_whole_module_is_refused_with_what_to_save(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear") as caught:
        read_tensors(tmp_path / "a.pt")
    assert "model.state_dict()" in caught.value.hint


@pytest.mark.parametrize("how", ["folder", "index", "folder of one file"])
def test_checkpoints_in_shards_and_folders(tmp_path: Path, how: str) -> None:
    original = trained(MLP)
    state = {k: v.clone() for k, v in ReferenceLayout(original).state_dict().items()}
    folder = tmp_path / "best"
    folder.mkdir()
    path = folder
    if how == "folder of one file":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        places = {}
        for number, names in enumerate((list(state)[::2], list(state)[1::2])):
            file = f"model-{number}.safetensors"
            save_file({name: state[name] for name in names}, folder / file)
            places |= dict.fromkeys(names, file)
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": places}))
        path = index if how == "index" else folder
    loaded = load(write_base_folders(tmp_path), MLP, checkpoint=path)
    assert torch.equal(logits(loaded.model, MLP), logits(original, MLP))


def test_folders_that_hold_no_checkpoint_or_two(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        read_checkpoint(tmp_path)
    for name in ("model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"holds 2 checkpoints: model\.safetensors, py"):
        read_checkpoint(tmp_path)
    (tmp_path / "zero_to_fp32.py").touch()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path)
    assert "zero_to_fp32.py" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.to(torch.int8), "is int8"),
        (lambda t: t > 0, "is bool"),
        (lambda t: t.to(torch.complex64), "is complex64"),
        (lambda t: t.to_sparse(), "is sparse_coo"),
        (lambda t: t.to("meta"), "meta device"),
    ],
)
def test_tensors_that_are_no_weights(tmp_path: Path, change, words: str) -> None:
    state = dict(ReferenceLayout(trained(MLP)).state_dict())
    name = "decoder.llama.model.layers.0.mlp.up_proj.weight"
    torch.save(state | {name: change(state[name])}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=rf"up_proj\.weight.* {words}"):
        load(write_base_folders(tmp_path), MLP, checkpoint=tmp_path / "a.pt")


def test_weights_that_were_quantised_in_the_file_alone(tmp_path: Path) -> None:
    state = dict(ReferenceLayout(trained(MLP)).state_dict())
    name = "decoder.llama.model.layers.0.mlp.up_proj"
    state |= {f"{name}.SCB": torch.ones(40)}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="SCB") as caught:
        load(write_base_folders(tmp_path), MLP, checkpoint=tmp_path / "a.pt")
    assert "before it was quantised" in caught.value.hint
