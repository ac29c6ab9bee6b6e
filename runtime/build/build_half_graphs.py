"""`c2t build --target cuda` as a function: half-precision graphs beside a bundle, for any GPU.

One decision: the set appears whole or not at all, and is found again, as plans are; but making it
only converts weights, so it needs neither a GPU nor a library of NVIDIA's.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import c2t
from c2t.runtime.build.step_weights import write_decoder_weights
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.engines.built.folder import make_cache, plan_cache
from c2t.runtime.engines.built.half_graphs import (
    BUNDLE_PRECISION,
    DESCRIPTION_FILES,
    GRAPH_FILES,
    SET_DTYPES,
    CudaSet,
    CudaSetIdentity,
    read_cuda_set,
)
from c2t.runtime.engines.built.plan_set import FORMAT_VERSION, PLANS_NAME
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import BundleError
from c2t.runtime.system.files import atomic_folder

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CudaSetOptions:
    """What to make.

    Args:
        dtype: "float16" or "bfloat16": everything but normalisations and logits.
        cache: Folder for plans; None: see `c2t.runtime.engines.built.folder.plan_cache`.
        force: Make again what is there already.
    """

    dtype: str = SET_DTYPES[0]
    cache: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class BuiltCudaSet:
    """Where the set is, what is known of it, and whether it was there already."""

    folder: str
    found: bool
    cuda_set: CudaSet


def build_cuda_set(
    bundle: Bundle, options: CudaSetOptions, *, report: Report = lambda _: None
) -> BuiltCudaSet:
    """Make the set of a float32 bundle, or find it.

    Raises:
        BundleError: A bundle or a precision that there is no such set of.
        EngineError: The set that is there is damaged.
        OutputError: The folder for plans cannot be written.
    """
    _check(bundle.manifest.precision, options.dtype)
    identity = CudaSetIdentity(bundle_sha256=bundle.digest, dtype=options.dtype)
    cache = plan_cache(bundle, options.cache)
    folder = cache / identity.key
    if not options.force and folder.exists():
        known = read_cuda_set(folder, bundle, identity)
        return BuiltCudaSet(folder=str(folder), found=True, cuda_set=known)
    make_cache(cache)
    since = time.perf_counter()
    with atomic_folder(folder, force=True, marker=PLANS_NAME) as place:
        for graph in GRAPHS:
            report(f"writing {graph} in {options.dtype}")
            write_half_precision(bundle.file(graph), place / graph, dtype=options.dtype)
        files = GRAPH_FILES
        try:
            write_decoder_weights(bundle.file(GRAPHS[-1]), place / GRAPHS[-1])
            files += DESCRIPTION_FILES
        except BundleError as error:  # the graphs run all the same
            report(f"short steps will run on ONNX Runtime: {error.problem}")
        done = CudaSet(
            format_version=FORMAT_VERSION,
            c2t_version=c2t.__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            identity=identity,
            files=file_entries(place, files),
            seconds=round(time.perf_counter() - since, 2),
        )
        (place / PLANS_NAME).write_bytes(json_bytes(done))
    return BuiltCudaSet(folder=str(folder), found=False, cuda_set=done)


def _check(precision: str, dtype: str) -> None:
    """Refuse what there is no set of, before anything is written."""
    if precision != BUNDLE_PRECISION:
        problem = f"a set for ONNX Runtime on CUDA is made of a float32 bundle, not of {precision}"
        raise BundleError(
            problem,
            hint="build the float32 bundle; one of precision int8: --target tensorrt or rtx",
        )
    if dtype == "float32":
        problem = "ONNX Runtime on CUDA runs float32 from the bundle itself"
        raise BundleError(problem, hint="there is nothing to build: describe with --engine cuda")
    if dtype not in SET_DTYPES:
        problem = f"there is no precision {dtype!r} for CUDA"
        raise BundleError(problem, hint=f"choose one of {', '.join(SET_DTYPES)}")
