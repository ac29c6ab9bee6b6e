"""Broken CellWhisperer checkpoints, and a bundle with a joint space whose files were changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import tiny_joint
import torch
from changes import change_bytes, change_json, encode
from checkpoint_targets import other_tensor
from child import Target
from tiny_data import JOINT

from c2t.export.cellwhisperer.outline import outline_joint
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import MANIFEST_NAME
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.describe.embedder import Embedder
from c2t.runtime.describe.searcher import Searcher
from c2t.runtime.describe.verify_vectors import verify_golden_vectors

_BASE: list[Path] = []


def prepare_joint(folder: Path) -> None:
    """Write the folders that are broken, once, in the parent."""
    torch.set_num_threads(1)  # threads do not survive a fork
    tiny_joint.write_joint_folders(folder, tiny_joint.tiny_joint())
    _BASE[:] = [folder]


def _make_checkpoint(folder: Path, random: Random) -> Path:
    place = folder / "joint"
    shutil.copytree(_BASE[0], place)
    checkpoint = place / "model.ckpt"
    if random.random() < 0.4:
        state: dict[Any, Any] = tiny_joint.state_dict(tiny_joint.tiny_joint())
        name = random.choice(list(state))
        match random.randrange(5):
            case 0:
                del state[name]
            case 1:
                state[random.choice((1, None, "", "x", "img_block.x", ("a",)))] = state[name]
            case 2:
                state[name] = random.choice(("x", 1, None, [1], {}, 1.5))
            case _:
                state[name] = other_tensor(state[name], random)
        tiny_joint.write_lightning(checkpoint, state)
        return place
    path = random.choice(sorted(path for path in place.rglob("*") if path.is_file()))
    if path.suffix == ".json" and random.random() < 0.85:
        path.write_bytes(encode(change_json(json.loads(path.read_bytes()), random), random))
    else:
        path.write_bytes(change_bytes(path.read_bytes(), random))
    return place


def _use_checkpoint(folder: Path) -> None:
    """Load it as exporting does."""
    options = CheckpointOptions(
        family="cellwhisperer",
        geneformer=folder / "geneformer",
        text_model=folder / "biobert",
        checkpoint=folder / "model.ckpt",
    )
    outline_joint(options).load()


def _make_bundle(folder: Path, random: Random) -> Path:
    """A bundle in which one file was changed, and its hash with it."""
    place = folder / "bundle"
    shutil.copytree(JOINT, place)
    manifest = parse_manifest((place / MANIFEST_NAME).read_bytes())
    path = place / random.choice(sorted(manifest.files))
    if path.suffix == ".json" and random.random() < 0.8:
        path.write_bytes(encode(change_json(json.loads(path.read_bytes()), random), random))
    else:
        path.write_bytes(change_bytes(path.read_bytes(), random))
    write_manifest(place, manifest.replace(files=file_entries(place, manifest.files)))
    return place


def _use_bundle(folder: Path) -> None:
    """Open it, compute its golden vectors, and read a text."""
    bundle = open_bundle(folder)
    verify_golden_vectors(bundle)
    Searcher(bundle, ["activated T cells"], Embedder(bundle))


def targets() -> list[Target]:
    """Of this file."""
    return [
        Target(
            name="joint-checkpoints",
            make=_make_checkpoint,
            use=_use_checkpoint,
            seconds=60.0,
            prepare=prepare_joint,
        ),
        Target(name="joint-bundles", make=_make_bundle, use=_use_bundle, seconds=60.0),
    ]
