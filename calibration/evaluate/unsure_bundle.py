"""Writes a copy of a bundle that states a rule for unsure cells.

One decision: a bundle is never changed in place. Its manifest's hash is its identity, which records
and signatures name. The copy is a bundle of its own; a signature of the old one is not copied, for
it would not be true of the new one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import MANIFEST_NAME
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME, UnsureRule, read_rule
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_folder, check_folder_target


def check_copy_target(bundle: Bundle, folder: Path, *, force: bool = False) -> None:
    """Refuse a place for the copy before anything is described.

    Raises:
        OutputError: It is the bundle itself, or see `c2t.runtime.system.files.check_folder_target`.
    """
    if folder.exists() and folder.resolve() == bundle.path.resolve():
        problem = f"{folder} is the bundle itself, and a bundle is not changed in place"
        raise OutputError(problem, hint="name another folder; the old bundle stays as it is")
    check_folder_target(folder, force=force, marker=MANIFEST_NAME)


def write_rule(folder: Path, rule: UnsureRule) -> None:
    """Write `unsure.json` into a bundle in the making, and read it as run time will."""
    path = folder / UNSURE_NAME
    path.write_bytes(json_bytes(rule))
    read_rule(path)


def write_with_rule(bundle: Bundle, folder: Path, rule: UnsureRule, *, force: bool = False) -> None:
    """Write a copy of a bundle with a rule in it, whole or not at all.

    Args:
        bundle: Its files are as its manifest says.
        folder: The copy.
        rule: Takes the place of one that the bundle states.
        force: Replace a bundle that is there.

    Raises:
        OutputError: The place cannot be written.
    """
    with atomic_folder(folder, force=force, marker=MANIFEST_NAME) as place:
        for name in bundle.manifest.files:
            if name != UNSURE_NAME:
                shutil.copyfile(bundle.file(name), place / name)
        write_rule(place, rule)
        files = dict(bundle.manifest.files) | file_entries(place, [UNSURE_NAME])
        write_manifest(place, bundle.manifest.replace(files=files))
        open_bundle(place)  # every hash is compared: what was copied is what was judged
