"""What makes an export fail is refused before a weight is read, and leaves nothing behind.

The weights of the checkpoint are damaged: an export that opens them first fails in another way.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_checkpoints import MLP, trained
from tiny_models import SYSTEM_MESSAGE, ReferenceLayout, write_base_folders

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.system.errors import C2TError, CheckpointError, OutputError


@pytest.fixture
def damaged(tiny_checkpoint_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint folder whose weights cannot be read."""
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoint_folder, folder)
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(b"damaged")
    return folder


def refused(folder: Path | None, output: Path, *, cells: Path | None = None, **options) -> C2TError:
    before = sorted(output.parent.iterdir())
    checkpoint = CheckpointOptions(**({"folder": folder} | options))
    with pytest.raises(C2TError) as caught:
        export_bundle(ExportOptions(output=output, cells=cells, checkpoint=checkpoint))
    assert "no readable safetensors" not in str(caught.value)
    assert sorted(output.parent.iterdir()) == before
    return caught.value


def test_the_damage_is_seen_in_the_end(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="safetensors"):
        export_bundle(
            ExportOptions(output=tmp_path / "out", checkpoint=CheckpointOptions(folder=damaged))
        )


@pytest.mark.parametrize(
    ("name", "content"), [("none.txt", None), ("empty.txt", b"\n\n"), ("latin.txt", b"\xe4\n")]
)
def test_phrases(damaged: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert name in refused(damaged, tmp_path / "out", phrases=path).problem


def test_system_message_file(damaged: Path, tmp_path: Path) -> None:
    file = tmp_path / "message.txt"
    assert "cannot read" in refused(damaged, tmp_path / "out", system_message_file=file).problem
    file.write_bytes(b"\xff\xfe\xe4")
    error = refused(damaged, tmp_path / "out", system_message_file=file)
    assert "UTF-8" in error.hint
    file.write_text("Say it.")
    error = refused(damaged, tmp_path / "out", system_message_file=file, system_message="Say more.")
    assert "both given" in error.problem


def test_cells(damaged: Path, tmp_path: Path) -> None:
    cells = tmp_path / "cells.h5ad"
    assert "cells.h5ad" in refused(damaged, tmp_path / "out", cells=cells).problem
    cells.write_bytes(b"no HDF5")
    assert "cells.h5ad" in refused(damaged, tmp_path / "out", cells=cells).problem


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 100_000}, "100000 new tokens"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"placeholder_token": "<|none|>"}, "no token"),
        ({"top_k": 0}, "carries its own parts"),
    ],
)
def test_settings(damaged: Path, tmp_path: Path, options: dict[str, object], match: str) -> None:
    assert match in refused(damaged, tmp_path / "out", **options).problem


@pytest.mark.parametrize(
    ("part", "model_type", "known"),
    [("llama", "gpt2", "gpt_neox (GPT-NeoX)"), ("geneformer", "esm", "bert (Geneformer)")],
)
def test_unknown_families_are_refused_by_name(
    damaged: Path, tmp_path: Path, part: str, model_type: str, known: str
) -> None:
    path = damaged / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": model_type}))
    error = refused(damaged, tmp_path / "out")
    assert f"model_type is '{model_type}'" in error.problem
    assert str(path) in error.problem
    assert known in error.hint


@pytest.mark.parametrize(
    ("part", "changes", "match"),
    [
        ("llama", {"hidden_act": "gelu"}, "activation is 'gelu'"),
        ("llama", {"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        ("geneformer", {"hidden_act": "tanh"}, "activation is 'tanh'"),
        ("geneformer", {"position_embedding_type": "relative_key"}, "relative_key"),
    ],
)
def test_configs_that_their_family_does_not_export(
    damaged: Path, tmp_path: Path, part: str, changes: dict[str, object], match: str
) -> None:
    path = damaged / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert match in refused(damaged, tmp_path / "out").problem


def test_unknown_projector(damaged: Path, tmp_path: Path) -> None:
    path = damaged / "config.json"
    config = json.loads(path.read_text())
    config["projector"]["kind"] = "abstractor"
    path.write_text(json.dumps(config))
    error = refused(damaged, tmp_path / "out")
    assert "'abstractor'" in error.problem
    assert "`qformer` or `perceiver`" in error.hint


def test_a_disk_without_room(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    error = refused(damaged, tmp_path / "out")
    assert isinstance(error, OutputError)
    assert "GB left" in error.problem


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(damaged: Path, tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir(mode=0o555)
    assert "cannot write" in refused(damaged, place / "out").problem


def test_a_place_that_is_taken_or_not_there(damaged: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    assert "exists already" in refused(damaged, taken).problem
    with pytest.raises(OutputError, match="there is no folder"):
        export_bundle(
            ExportOptions(
                output=tmp_path / "none" / "out", checkpoint=CheckpointOptions(folder=damaged)
            )
        )


def test_a_time_that_is_none(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert "SOURCE_DATE_EPOCH is 'yesterday'" in refused(damaged, tmp_path / "out").problem


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    """A checkpoint in parts: only the trained file can be read."""
    folders = write_base_folders(tmp_path)
    torch.save(ReferenceLayout(trained(MLP)).state_dict(), tmp_path / "c.pt")
    for folder in folders.values():
        (folder / "model.safetensors").write_bytes(b"damaged")
    return {**folders, "checkpoint": tmp_path / "c.pt"}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "no system message"),
        ({"system_message": SYSTEM_MESSAGE, "top_k": 0}, "top_k is 0"),
        ({"system_message": SYSTEM_MESSAGE, "emb_layer": 3}, "emb_layer is 3"),
        ({"system_message": SYSTEM_MESSAGE, "max_new_tokens": 300}, "300 new tokens"),
        ({"system_message": SYSTEM_MESSAGE, "gene_medians": Path("none.pkl")}, "none.pkl"),
        ({"system_message": SYSTEM_MESSAGE, "adapter": Path("none")}, "none is no adapter folder"),
    ],
)
def test_checkpoints_in_parts(
    parts: dict[str, Path], tmp_path: Path, options: dict[str, object], match: str
) -> None:
    # Without a file, `torch.load` would be the first to fail.
    parts["checkpoint"].write_bytes(b"damaged")
    if "300" in match:  # the number of vectors is known when the projector's shapes are
        torch.save(ReferenceLayout(trained(MLP)).state_dict(), parts["checkpoint"])
    assert match in refused(None, tmp_path / "out", **parts, **options).problem


def test_values_of_the_wrong_type_beside_a_checkpoint(
    parts: dict[str, Path], tmp_path: Path
) -> None:
    config = {"projector": "mlp", "decoder_hidden_size": 24, "top_k": "many"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    error = refused(None, tmp_path / "out", system_message=SYSTEM_MESSAGE, **parts)
    assert "config.json" in error.problem
    assert "top_k" in error.problem


def test_genes_of_another_encoder(damaged: Path, tmp_path: Path) -> None:
    with np.load(damaged / "genes.npz") as stored:
        arrays = dict(stored)
    arrays["token"] = arrays["token"] + 1000
    np.savez_compressed(damaged / "genes.npz", **arrays)
    assert "gene token 1063" in refused(damaged, tmp_path / "out").problem
