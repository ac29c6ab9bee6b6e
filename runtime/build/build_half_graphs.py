"""`c2t build --target cuda` as a function: half-precision graphs beside a bundle, for any GPU.

One decision: their folder appears whole or not at all, and is found again, as that of plans is.
Making them only converts weights, which needs neither a GPU nor a library of NVIDIA's.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

import c2t
from c2t.runtime.build.step_weights import check_step_weights, write_step_weights
from c2t.runtime.bundle.attention import check_attention
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import DECODER_GRAPH
from c2t.runtime.engines.built.folder import make_cache, plan_cache
from c2t.runtime.engines.built.half_graphs import (
    BUNDLE_PRECISIONS,
    DESCRIPTION_FILES,
    HALF_DTYPES,
    INT8_PRECISION,
    HalfGraphs,
    HalfGraphsIdentity,
    read_half_graphs,
)
from c2t.runtime.engines.built.plan_set import FORMAT_VERSION, PLANS_NAME
from c2t.runtime.engines.known_decoder.recognise import UnknownDecoderError
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import BundleError
from c2t.runtime.system.files import atomic_folder
from c2t.runtime.system.progress import progress_bar

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class HalfGraphsOptions:
    """What to make.

    Args:
        dtype: "float16" or "bfloat16": everything but normalisations and logits.
        cache: Folder to write to; None: see `c2t.runtime.engines.built.folder.plan_cache`.
        force: Make again what is there already.
    """

    dtype: str = HALF_DTYPES[0]
    cache: Path | None = None
    force: bool = False


# `c2t build --json` prints it under this name.
class BuiltHalfGraphs(msgspec.Struct, frozen=True, kw_only=True, rename={"record": "cuda_set"}):
    """Where the graphs are, their record, and whether they were there already."""

    folder: str
    found: bool
    record: HalfGraphs


def build_half_graphs(
    bundle: Bundle, options: HalfGraphsOptions, *, report: Report = lambda _: None
) -> BuiltHalfGraphs:
    """Make the half-precision graphs of a bundle, or find them.

    Args:
        bundle: The bundle.
        options: What to make.
        report: Called with each line for the user.

    Raises:
        BundleError: There are none for a bundle of this precision or its decoder's attention, or no
            such dtype.
        EngineError: Those that are there are damaged.
        OutputError: The folder cannot be written.
    """
    _check(bundle.manifest.precision, options.dtype)
    graphs, int8 = bundle.manifest.graphs, bundle.manifest.precision == INT8_PRECISION
    check_attention(bundle.graph_alone(DECODER_GRAPH), "ONNX Runtime on CUDA", error=BundleError)
    identity = HalfGraphsIdentity(bundle_sha256=bundle.digest, dtype=options.dtype)
    cache = plan_cache(bundle, options.cache)
    folder = cache / identity.key
    if not options.force and folder.exists():
        known = read_half_graphs(folder, bundle, identity)
        return BuiltHalfGraphs(folder=str(folder), found=True, record=known)
    make_cache(cache)
    since = time.perf_counter()
    with atomic_folder(folder, force=True, marker=PLANS_NAME) as place:
        for graph in graphs:
            report(f"writing {graph} in {options.dtype}")
            source, size = bundle.file(graph), bundle.manifest.files[f"{graph}.data"].bytes
            with progress_bar(graph, size, unit="bytes") as advance:
                write_half_precision(
                    source, place / graph, dtype=options.dtype, widen=int8, advance=advance
                )
        files = (*graphs, *(f"{graph}.data" for graph in graphs))
        try:
            if int8:  # the step kernel streams the bundle's own weights
                check_step_weights(bundle.file(DECODER_GRAPH))
            else:
                write_step_weights(bundle.file(DECODER_GRAPH), place / DECODER_GRAPH)
                files += DESCRIPTION_FILES
        except UnknownDecoderError as error:  # the graphs run all the same
            report(f"short steps stay with ONNX Runtime: {error.problem}")
        record = HalfGraphs(
            format_version=FORMAT_VERSION,
            c2t_version=c2t.__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            identity=identity,
            files=file_entries(place, files),
            seconds=round(time.perf_counter() - since, 2),
        )
        (place / PLANS_NAME).write_bytes(json_bytes(record))
    return BuiltHalfGraphs(folder=str(folder), found=False, record=record)


def _check(precision: str, dtype: str) -> None:
    """Refuse a bundle or a dtype that there are no half-precision graphs for."""
    if precision not in BUNDLE_PRECISIONS:
        problem = (
            "half-precision graphs for ONNX Runtime on CUDA are made of a bundle of precision fp32 "
            f"or int8, not of {precision}"
        )
        raise BundleError(problem, hint="build the float32 bundle, or one of precision int8")
    if dtype == "float32":
        problem = "ONNX Runtime on CUDA runs float32 from the bundle itself"
        raise BundleError(problem, hint="there is nothing to build: describe with --engine cuda")
    if dtype not in HALF_DTYPES:
        problem = f"there is no precision {dtype!r} for CUDA"
        raise BundleError(problem, hint=f"choose one of {', '.join(HALF_DTYPES)}")
