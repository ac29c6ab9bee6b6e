"""Things that many tests share: a tiny checkpoint and its bundle, made once by the real export."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint_folder(tmp_path_factory) -> Path:
    """A random checkpoint in the package's own layout."""
    from tiny_models import tiny_checkpoint

    from c2t.export.checkpoint_folder import save_checkpoint

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
def tiny_bundle_folder(tiny_checkpoint_folder, tmp_path_factory) -> Path:
    """Its bundle. Tests that change something must copy it first."""
    from c2t.export.checkpoint_options import CheckpointOptions
    from c2t.export.pipeline import ExportOptions, export_bundle

    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder, max_new_tokens=12)
    export_bundle(ExportOptions(output=folder, checkpoint=checkpoint))
    return folder
