"""Where built things lie: a folder beside the bundle, with one folder for each build.

One decision: never inside the bundle. Plans belong to one machine, a bundle to all of them, and its
hash must not change because somebody built something.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.file_parts import block_problems, stated_parts
from c2t.runtime.bundle.hashes import compare_parts, sha256_of
from c2t.runtime.bundle.manifest import DECODER_GRAPH, GRAPHS, FileEntry
from c2t.runtime.engines.built.plan_set import FORMAT_VERSION, PLANS_NAME, PlanSet, plan_name
from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import EngineError, OutputError, TrustError, first_line

CACHE_VARIABLE = "C2T_ENGINES"
RECORD_BYTES_MAX = 1 << 20
Record = TypeVar("Record")


def plan_cache(bundle: Bundle, folder: Path | None = None) -> Path:
    """The folder of what was built of a bundle.

    Args:
        bundle: The bundle.
        folder: The folder itself; None: that of `C2T_ENGINES`, else `BUNDLE.engines` beside it.
    """
    if folder is not None:
        return folder
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    place = bundle.path.resolve()
    return place.with_name(f"{place.name}.engines")


def make_cache(cache: Path) -> None:
    """Make the folder of `plan_cache`, if it is not there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot make {cache}: {error.strerror}"
        raise OutputError(
            problem, hint="name another folder with --cache, or C2T_ENGINES"
        ) from error


def read_record(path: Path, kind: type[Record], *, hint: str) -> Record:
    """Read a `plans.json` strictly.

    Args:
        path: The file.
        kind: `PlanSet`, or the class of another target's record.
        hint: How to mend it.

    Raises:
        EngineError: It is damaged, or of a newer format.
    """
    content = read_bounded(path, bytes_max=RECORD_BYTES_MAX, error=EngineError, hint=hint)
    document = decode_json(content, dict[str, object], name=path, error=EngineError, hint=hint)
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        problem = f"{path} has format {version}; this c2t reads up to {FORMAT_VERSION}"
        raise EngineError(problem, hint=f"update c2t, or {hint}")
    return decode_json(content, kind, name=path, error=EngineError, hint=hint)


def check_length(file: Path, entry: FileEntry, *, hint: str) -> None:
    """Compare a file's length with its record, and that with the record's hashes of blocks.

    Raises:
        EngineError: The length differs, or it is no regular file; blocks are not of that length.
    """
    length = file.stat().st_size if file.is_file() and not file.is_symlink() else None
    if length != entry.bytes:
        problem = f"{file} has {length} bytes, expected {entry.bytes:,}"
        raise EngineError(problem, hint=hint)
    if problem := next(block_problems(file.name, entry), ""):
        problem = f"the record of {file} cannot be right: {problem}"
        raise EngineError(problem, hint=hint)


def check_built_signature(folder: Path, files: Mapping[str, str], bundle: Bundle) -> None:
    """Refuse what was built of a signed bundle and is not signed with the same key.

    Who can write beside a bundle could exchange what is run in its place.

    Args:
        folder: What was built.
        files: SHA-256 of the files that are used, by name; the record's is added.
        bundle: Of what it was built.

    Raises:
        EngineError: Not signed with the key that the bundle was opened with.
    """
    if bundle.trust is None:
        return
    from c2t.runtime.trust.folder import SignedFolder

    try:
        signed = SignedFolder.open(folder, bundle.trust)
        signed.compare({**files, PLANS_NAME: sha256_of(folder / PLANS_NAME)})
    except (TrustError, OSError) as error:
        hint = f"sign it with the same key: c2t sign {shlex.quote(str(folder))} --key PRIVATE_KEY"
        raise EngineError(first_line(error), hint=hint) from error


def check_built_files(
    folder: Path, files: Mapping[str, FileEntry], bundle: Bundle, *, hint: str
) -> None:
    """Compare every byte of what was built with its record, and the signature of a signed bundle.

    Args:
        folder: What was built.
        files: Length and hashes by name.
        bundle: Of what it was built.
        hint: How to mend it.

    Raises:
        EngineError: A file was changed or damaged, or is not signed as the bundle is.
    """
    parts = [
        part
        for name, entry in files.items()
        # What is signed are whole files.
        for part in stated_parts(name, entry, wholly=bundle.trust is not None)
    ]
    try:
        _, changed = compare_parts(folder, parts, files)
    except OSError as error:
        problem = f"cannot read {error.filename}: {error.strerror}"
        raise EngineError(problem, hint=hint) from error
    if changed:
        problem = f"{folder / changed[0]} was changed since it was built (SHA-256 differs)"
        raise EngineError(problem, hint=hint)
    check_built_signature(folder, {name: entry.sha256 for name, entry in files.items()}, bundle)


def read_plan_set(folder: Path) -> PlanSet:
    """Read `plans.json` of a plan set strictly.

    Raises:
        EngineError: It is damaged, of a newer format, or its plans are not there.
    """
    path = folder / PLANS_NAME
    hint = "delete its folder and run `c2t build` again"
    plan_set = read_record(path, PlanSet, hint=hint)
    if not {DECODER_GRAPH} <= set(plan_set.plans) <= set(GRAPHS):
        problem = f"{path} lists plans of {', '.join(sorted(plan_set.plans))}"
        raise EngineError(problem, hint=hint)
    for graph, plan in plan_set.plans.items():
        if plan.file.bytes < 1:  # what an interrupted build of earlier versions could leave
            problem = f"{path} lists an empty {plan_name(graph)}"
            raise EngineError(problem, hint=hint)
        check_length(folder / plan_name(graph), plan.file, hint=hint)
    return plan_set


def plan_sets(cache: Path) -> Iterator[tuple[Path, PlanSet]]:
    """All plan sets of a folder of `plan_cache`, the newest first, each with its own folder.

    Damaged ones are left out, and so is what other targets keep there
    (`c2t.runtime.engines.built.half_graphs`).
    """
    if not cache.is_dir():
        return
    known = []
    for folder in cache.iterdir():
        if (folder / PLANS_NAME).is_file():
            try:
                known.append((folder, read_plan_set(folder)))
            except EngineError:
                continue
    yield from sorted(known, key=lambda item: item[1].created, reverse=True)
