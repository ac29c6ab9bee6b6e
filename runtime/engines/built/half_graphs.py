"""Half-precision graphs for ONNX Runtime's CUDA provider: their record, finding and opening them.

One decision: the graphs of a bundle in one precision have one folder name, so they are looked up by
it and nothing is searched. If they are there, they are used. If they are there and damaged, that is
an error: nothing returns to the bundle's own graphs in silence.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.bundle.manifest import FileEntry
from c2t.runtime.engines.built.folder import (
    check_built_files,
    check_length,
    plan_cache,
    read_record,
)
from c2t.runtime.engines.built.plan_set import PLANS_NAME, digest_of
from c2t.runtime.engines.built.step_weights import DESCRIPTION_NAME, SMALL_NAME
from c2t.runtime.system.errors import EngineError

# The default first. ONNX Runtime runs float32 from the bundle's own graphs.
HALF_DTYPES = ("float16", "bfloat16")
# Precisions of bundles that there are half-precision graphs of. Those of an INT8 bundle have its
# int8 weights widened, and do not quantise activations.
INT8_PRECISION = "int8"
BUNDLE_PRECISIONS = ("fp32", INT8_PRECISION)
# Written where the step kernel can run the decoder.
DESCRIPTION_FILES = (DESCRIPTION_NAME, SMALL_NAME)


@dataclass(frozen=True, kw_only=True)
class HalfGraphsIdentity:
    """What the graphs were made from. They run on any GPU, with any rows and capacity.

    Args:
        bundle_sha256: Hash of the bundle's manifest.
        dtype: One of `HALF_DTYPES`.
        target: Distinguishes the record from one of TensorRT plans.
    """

    bundle_sha256: str
    dtype: str
    target: Literal["cuda"] = "cuda"

    @property
    def key(self) -> str:
        """A name for a folder: readable, and different for every other identity."""
        return f"{self.target}-{self.dtype}-{digest_of(self)}"


@dataclass(frozen=True, kw_only=True)
class HalfGraphs:
    """The contents of their `plans.json`; `files` are all other files, by name."""

    format_version: int
    c2t_version: str
    created: str  # UTC, ISO 8601
    identity: HalfGraphsIdentity
    files: dict[str, FileEntry]
    seconds: float  # how long making them took


def half_graphs_command(bundle: Bundle, dtype: str = HALF_DTYPES[0]) -> str:
    """The command that makes half-precision graphs of a bundle."""
    precision = "" if dtype == HALF_DTYPES[0] else f" --precision {dtype}"
    return f"c2t build {shlex.quote(str(bundle.path))} --target cuda{precision}"


def read_half_graphs(folder: Path, bundle: Bundle, identity: HalfGraphsIdentity) -> HalfGraphs:
    """Read the record of half-precision graphs strictly, and compare their files' lengths.

    Args:
        folder: Where they lie.
        bundle: Whose they should be; the hint names the command that makes them again.
        identity: What the record should say.

    Raises:
        EngineError: Damaged, of a newer format, or of another identity.
    """
    path = folder / PLANS_NAME
    hint = f"build it again with `{half_graphs_command(bundle, identity.dtype)} --force`"
    record = read_record(path, HalfGraphs, hint=hint)
    graphs = bundle.manifest.graphs
    files = {*graphs, *(f"{graph}.data" for graph in graphs)}
    complete = (files, {*files, *DESCRIPTION_FILES})
    if record.identity != identity or set(record.files) not in complete:
        problem = f"{path} is not the record of half-precision graphs of this bundle"
        raise EngineError(problem, hint=hint)
    for name, entry in record.files.items():
        check_length(folder / name, entry, hint=hint)
    return record


def open_half_graphs(bundle: Bundle, cache: Path | None = None) -> Path | None:
    """The folder of a bundle's newest half-precision graphs, every byte checked; None without any.

    The graphs are opened by name after they were hashed, not read once as plans are: they are
    gigabytes, which ONNX Runtime maps.

    Args:
        bundle: The bundle.
        cache: Folder of what `c2t build` makes; None: see `plan_cache`.

    Raises:
        EngineError: A file was changed or damaged; the hint is the command to run.
    """
    known = []
    for dtype in HALF_DTYPES:
        identity = HalfGraphsIdentity(bundle_sha256=bundle.digest, dtype=dtype)
        folder = plan_cache(bundle, cache) / identity.key
        if folder.exists():
            known.append((folder, read_half_graphs(folder, bundle, identity)))
    if not known:
        return None
    folder, newest = max(known, key=lambda item: item[1].created)
    hint = f"build it again with `{half_graphs_command(bundle, newest.identity.dtype)} --force`"
    check_built_files(folder, newest.files, bundle, hint=hint)
    for name in bundle.manifest.graphs:  # who can write the record can make the hashes fit
        check_graph(folder / name, error=EngineError, hint=hint)
    return folder
