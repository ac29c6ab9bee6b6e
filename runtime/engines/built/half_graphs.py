"""A set of graphs for ONNX Runtime's CUDA provider: what it holds, finding it, and opening it.

One decision: the set of a bundle and a precision has one name, so it is looked for by that name and
nothing is searched. If it is there, it is used; if it is there and damaged, that is an error, never
a silent return to the bundle's own graphs.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import GRAPHS, FileEntry
from c2t.runtime.engines.built.folder import check_length, plan_cache, read_record
from c2t.runtime.engines.built.plan_set import PLANS_NAME, digest_of
from c2t.runtime.engines.built.step_weights import DESCRIPTION_NAME, SMALL_NAME
from c2t.runtime.system.errors import EngineError

# Precisions that a set can be of. ONNX Runtime runs float32 from the bundle's own graphs.
SET_DTYPES = ("float16", "bfloat16")
# The only bundles that have a half-precision form on ONNX Runtime.
BUNDLE_PRECISION = "fp32"
GRAPH_FILES = (*GRAPHS, *(f"{graph}.data" for graph in GRAPHS))
# Where the decoder is one that the kernel of short steps can run.
DESCRIPTION_FILES = (DESCRIPTION_NAME, SMALL_NAME)


@dataclass(frozen=True, kw_only=True)
class CudaSetIdentity:
    """What a set was made from. It runs on any GPU, with any number of rows and cache slots.

    Args:
        bundle_sha256: Hash of the bundle's manifest.
        dtype: One of `SET_DTYPES`.
        target: What tells its record from one of TensorRT plans.
    """

    bundle_sha256: str
    dtype: str
    target: Literal["cuda"] = "cuda"

    @property
    def key(self) -> str:
        """A name for a folder: readable, and different for every other identity."""
        return f"{self.target}-{self.dtype}-{digest_of(self)}"


@dataclass(frozen=True, kw_only=True)
class CudaSet:
    """The contents of a set's `plans.json`; `files` are all others, by name."""

    format_version: int
    c2t_version: str
    created: str  # UTC, ISO 8601
    identity: CudaSetIdentity
    files: dict[str, FileEntry]
    seconds: float  # what making it took


def set_command(bundle: Bundle, dtype: str = SET_DTYPES[0]) -> str:
    """The command that makes a set."""
    precision = "" if dtype == SET_DTYPES[0] else f" --precision {dtype}"
    return f"c2t build {shlex.quote(str(bundle.path))} --target cuda{precision}"


def read_cuda_set(folder: Path, bundle: Bundle, identity: CudaSetIdentity) -> CudaSet:
    """Read the record of a set strictly, and compare its files' lengths.

    Args:
        folder: The set.
        bundle: What it should be of; for the command that mends it.
        identity: What it should be.

    Raises:
        EngineError: It is damaged, of a newer format, or something else than it should be.
    """
    path = folder / PLANS_NAME
    hint = f"build it again with `{set_command(bundle, identity.dtype)} --force`"
    found = read_record(path, CudaSet, hint=hint)
    known = (set(GRAPH_FILES), {*GRAPH_FILES, *DESCRIPTION_FILES})
    if found.identity != identity or set(found.files) not in known:
        problem = f"{path} is not the record of a set of this bundle"
        raise EngineError(problem, hint=hint)
    for name, entry in found.files.items():
        check_length(folder / name, entry, hint=hint)
    return found


def open_cuda_set(bundle: Bundle, cache: Path | None = None) -> Path | None:
    """The folder of the newest set of a bundle, every byte checked; None if there is none.

    The graphs are opened by name after they were hashed, not read once as plans are: they are
    gigabytes, which ONNX Runtime maps.

    Args:
        bundle: The bundle.
        cache: Folder of plans; None: the usual one.

    Raises:
        EngineError: The set was changed or damaged; the hint is the command to run.
    """
    sets = []
    for dtype in SET_DTYPES:
        identity = CudaSetIdentity(bundle_sha256=bundle.digest, dtype=dtype)
        folder = plan_cache(bundle, cache) / identity.key
        if folder.exists():
            sets.append((folder, read_cuda_set(folder, bundle, identity)))
    if not sets:
        return None
    folder, newest = max(sets, key=lambda item: item[1].created)
    found = file_entries(folder, newest.files)
    changed = [name for name, entry in newest.files.items() if found[name] != entry]
    if changed:
        problem = f"{folder / changed[0]} was changed since it was built (SHA-256 differs)"
        command = set_command(bundle, newest.identity.dtype)
        raise EngineError(problem, hint=f"build it again with `{command} --force`")
    return folder
