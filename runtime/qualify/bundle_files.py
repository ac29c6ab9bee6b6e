"""IQ: every file of the bundle, with the hash that its manifest says and the one that it has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from c2t.kernels.native import core_count
from c2t.runtime.bundle.bundle import MANIFEST_BYTES_MAX
from c2t.runtime.bundle.hashes import COPY_HINT, is_plain_name, sha256_of
from c2t.runtime.bundle.manifest import MANIFEST_NAME
from c2t.runtime.bundle.manifest_file import parse_manifest
from c2t.runtime.qualify.checks import Check, judged, shortened
from c2t.runtime.qualify.wheel_files import FileCheck
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError

NAME = "files of the bundle"
EXPECTED = "each has the hash that the manifest gives"


def check_bundle_files(path: Path) -> tuple[tuple[FileCheck, ...], Check]:
    """Hash every file that the manifest lists, whether or not it is right."""
    try:
        content = read_bounded(
            path / MANIFEST_NAME, bytes_max=MANIFEST_BYTES_MAX, error=BundleError, hint=COPY_HINT
        )
        entries = parse_manifest(content).files
    except BundleError as error:
        wrong = judged("IQ", NAME, expected=EXPECTED, actual=error.problem, passed=False)
        return (), wrong

    def check(name: str) -> FileCheck:
        found = None
        if is_plain_name(name):
            try:
                found = sha256_of(path / name)
            except OSError:
                found = None
        return FileCheck(name=name, expected=entries[name].sha256, found=found)

    with ThreadPoolExecutor(
        max_workers=core_count()
    ) as pool:  # hashlib releases the interpreter lock
        files = tuple(pool.map(check, sorted(entries)))
    faults = [
        f"{file.name} ({'not there' if file.found is None else 'changed'})"
        for file in files
        if not file.right
    ]
    others = sorted({p.name for p in path.iterdir()} - entries.keys() - {MANIFEST_NAME})
    more = f"; others beside them: {shortened(others)}" if others else ""
    actual = shortened(faults) or f"{len(files)} files have it{more}"
    return files, judged("IQ", NAME, expected=EXPECTED, actual=actual, passed=not faults)
