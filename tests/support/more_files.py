"""The tiny bundle with more files, all of them listed in its manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.hashes import file_entries


def bundle_with(folder: Path, files: Mapping[str, bytes]) -> Bundle:
    """A copy of the tiny bundle with these files.

    Args:
        folder: Where it goes.
        files: Content by name.
    """
    shutil.copytree(BUNDLES["mlp"], folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    names = [path.name for path in folder.iterdir() if path.name != "manifest.json"]
    entries = file_entries(folder, names)
    manifest["files"] = msgspec.to_builtins(entries)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_bundle(folder)
