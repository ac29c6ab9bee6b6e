"""Bundles written by the export's own functions, beside the PyTorch model they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_models import TinySizes, tiny_checkpoint

from c2t.export.bundle_parts import make_manifest, write_graphs, write_tables
from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.manifest import GOLDEN_NAME, Generation
from c2t.runtime.bundle.manifest_file import write_manifest


@dataclass(frozen=True)
class TinyBundle:
    bundle: Bundle
    loaded: LoadedCheckpoint

    def reference(self, tokens, generation: Generation) -> list[int]:
        """What PyTorch generates for gene tokens [S]."""
        return reference_tokens(self.loaded, tokens, generation)


def make_bundle(folder: Path, sizes: TinySizes | None = None, seed: int = 0) -> TinyBundle:
    """Export a random checkpoint."""
    return write_bundle(folder, tiny_checkpoint(sizes or TinySizes(), seed))


def write_bundle(folder: Path, loaded: LoadedCheckpoint) -> TinyBundle:
    """Export a checkpoint; the parity check and the golden cells are left out."""
    encoder, token_embedding = write_graphs(loaded, folder)
    write_tables(loaded, folder)
    (folder / GOLDEN_NAME).write_text('{"cells": []}')
    write_manifest(folder, make_manifest(loaded, folder, encoder, token_embedding))
    return TinyBundle(open_bundle(folder), loaded)


def reference_tokens(loaded: LoadedCheckpoint, tokens, generation: Generation) -> list[int]:
    """What PyTorch generates for gene tokens [S]."""
    cell = torch.as_tensor(tokens, dtype=torch.long)
    return loaded.model.generate(cell, loaded.prompt, generation)
