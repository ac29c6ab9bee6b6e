"""How long a bundle's files take to check: whole, and by blocks; and how much an engine has hashed.

    python benchmarks/hashing.py [--bundle FOLDER ...] [--gigabytes 2.6] [-o RESULT.json]

Before: one SHA-256 over each file, two files at a time, as c2t 0.1.0 did; that code is kept here.
After: the bundle's own code. Both run in turns; seconds are medians, ratios medians of ratios.
"warm" files lie in memory, "cold" ones were dropped from it (Linux). Bundles are not changed: their
files get second names in a folder on the same disk, beside a manifest with block hashes.

Of a bundle, what plans of TensorRT do not hold is hashed: the token table and the tables of the
gene embedding. `tests/runtime/build/test_hashed_for_plans.py` shows that nothing else is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from c2t.kernels.native import core_count
from c2t.runtime.bench.interleave import seconds_of
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import finish, record
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.file_parts import BLOCK_BYTES, LONG_BYTES, stated_parts
from c2t.runtime.bundle.hashes import compare_parts, file_entries
from c2t.runtime.bundle.manifest import MANIFEST_NAME, FileEntry
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.system.progress import Advance

SEED = 20261201
PIECE = 64 << 20  # bytes written at a time
OLD_READ = 4 << 20


def hash_whole(path: Path) -> str:
    """One SHA-256 over a file, as it was computed before."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(OLD_READ):
            digest.update(piece)
    return digest.hexdigest()


def check_whole(folder: Path, entries: dict[str, FileEntry]) -> None:
    """All files of a folder as they were checked before."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = list(pool.map(lambda name: hash_whole(folder / name), entries))
    assert found == [entry.sha256 for entry in entries.values()]


def check_blocks(folder: Path, entries: dict[str, FileEntry]) -> None:
    """All files of a folder as they are checked now."""
    parts = [part for name, entry in entries.items() for part in stated_parts(name, entry)]
    _, changed = compare_parts(folder, parts, entries)
    assert not changed


def hash_speed(rounds: int = 5) -> float:
    """Bytes a second that one core hashes of memory in its cache."""
    piece, count = bytes(1 << 20), 256
    digest = hashlib.sha256()

    def hashed() -> None:
        for _ in range(count):
            digest.update(piece)

    return count * len(piece) / statistics.median(seconds_of(hashed) for _ in range(rounds))


def forget(paths: Iterable[Path]) -> None:
    """Drop files from the memory of the operating system."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_turns(
    before: Callable[[], object],
    after: Callable[[], object],
    *,
    rounds: int,
    first: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Seconds of two ways, round by round, each after `first`."""
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        found = {}
        for way in (before, after) if number % 2 else (after, before):
            first()
            found[way] = seconds_of(way)
        times.append((found[before], found[after]))
    return {
        "before_seconds": round(statistics.median(t[0] for t in times), 3),
        "after_seconds": round(statistics.median(t[1] for t in times), 3),
        "before_over_after": round(statistics.median(t[0] / t[1] for t in times), 2),
        "rounds": [[round(seconds, 3) for seconds in pair] for pair in times],
    }


def measure_file(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    """One long file of random bytes."""
    path, draw = folder / "decoder.onnx.data", np.random.default_rng(SEED)
    with path.open("wb") as file:
        for start in range(0, size, PIECE):
            file.write(draw.bytes(min(PIECE, size - start)))
        file.flush()
        os.fsync(file.fileno())  # only what is on the disk can be dropped from memory
    entries = file_entries(folder, [path.name])
    blocks = entries[path.name].blocks
    assert blocks is not None

    def before() -> None:
        check_whole(folder, entries)

    def after() -> None:
        check_blocks(folder, entries)

    found = {
        "bytes": size,
        "blocks": len(blocks.sha256),
        "warm": in_turns(before, after, rounds=rounds),
        "cold": in_turns(before, after, rounds=max(rounds // 2, 1), first=lambda: forget([path])),
    }
    path.unlink()
    return found


class Counted:
    """Counts the bytes that a bundle hashes before use."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, total: int) -> Counted:
        """Takes the number of bytes that are about to be hashed."""
        self.bytes += total
        return self

    def __enter__(self) -> Advance:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        pass


def opened_with_plans(folder: Path) -> tuple[Bundle, int]:
    """Open a bundle as engines over plans do; and how many bytes of it were hashed."""
    counted = Counted()
    bundle = open_bundle(folder, verify=False)
    bundle.check_on_use(counted)
    _ = bundle.token_embedding, bundle.tokenizer
    if bundle.manifest.has_encoder:
        _ = bundle.gene_embedding_tables, bundle.genes
    entries = bundle.manifest.files.values()
    return bundle, counted.bytes + sum(e.bytes for e in entries if e.bytes <= LONG_BYTES)


def measure_bundle(source: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """What is hashed of a bundle of which plans were built, and how long that takes."""
    manifest = open_bundle(source, verify=False).manifest
    for name in manifest.files:
        os.link(source / name, folder / name)
    entries = file_entries(folder, manifest.files)
    write_manifest(folder, manifest.replace(files=entries))
    bundle, hashed = opened_with_plans(folder)
    return {
        "bundle": manifest.name,
        "precision": manifest.precision,
        "manifest_bytes": (folder / MANIFEST_NAME).stat().st_size,
        "manifest_bytes_without_blocks": (source / MANIFEST_NAME).stat().st_size,
        "with_plans": {
            "before_bytes": bundle.bytes,
            "after_bytes": hashed,
            "warm": in_turns(
                lambda: check_whole(folder, entries),
                lambda: opened_with_plans(folder),
                rounds=rounds,
            ),
        },
        "all_files": {
            "bytes": bundle.bytes,
            "warm": in_turns(
                lambda: check_whole(folder, entries),
                lambda: check_blocks(folder, entries),
                rounds=rounds,
            ),
        },
    }


def main() -> None:
    """Measure, and print or write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--gigabytes", type=float, default=2.6)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scratch", type=Path, help="on the disk of the bundles")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("hashing", threads=None, seed=SEED)
    document |= {"cores": core_count(), "block_bytes": BLOCK_BYTES}
    document["machine_speed"] = SpeedProbe().measure() | {
        "sha256_bytes_per_second_of_one_core": hash_speed()
    }
    bundles = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        place = Path(scratch)
        document["file"] = measure_file(place, int(options.gigabytes * 1e9), options.rounds)
        for number, source in enumerate(options.bundle):
            (place / str(number)).mkdir()
            bundles.append(measure_bundle(source, place / str(number), options.rounds))
            shutil.rmtree(place / str(number))
    document["bundles"] = bundles
    finish(document, [], options.output)


if __name__ == "__main__":
    main()
