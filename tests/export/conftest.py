"""A tiny checkpoint, and a bundle that the whole export makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import tiny_checkpoint

from c2t.export.checkpoint.folder import save_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle


@pytest.fixture(scope="session")
def tiny_checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint in the package's own layout."""
    loaded = tiny_checkpoint()
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_checkpoint(
        folder,
        model=loaded.model,
        genes=loaded.genes,
        tokenizer=loaded.tokenizer,
        settings=loaded.settings,
    )
    return folder


@pytest.fixture(scope="session")
def tiny_bundle_folder(
    tiny_checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its bundle, exported here. Tests that change something copy it first."""
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder, max_new_tokens=12)
    export_bundle(ExportOptions(output=folder, checkpoint=checkpoint))
    return folder
