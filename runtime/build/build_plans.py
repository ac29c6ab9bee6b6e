"""`c2t build` as a function: a bundle in, a plan set beside it.

One decision: the folder appears whole or not at all, and its name is the key of everything that the
plans were built for. So a plan set that is there already is found and not built again.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import c2t
from c2t.runtime.build.build_progress import WHOLE
from c2t.runtime.build.plan_builder import PlanOptions, build_plan
from c2t.runtime.bundle.attention import check_attention
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import DECODER_GRAPH, GRAPHS
from c2t.runtime.engines.built.folder import make_cache, plan_cache, read_plan_set
from c2t.runtime.engines.built.plan_profiles import (
    PlanUse,
    cache_capacity,
    decoder_profiles,
    encoder_profiles,
    projector_profiles,
)
from c2t.runtime.engines.built.plan_set import (
    FORMAT_VERSION,
    PLANS_NAME,
    PlanFile,
    PlanIdentity,
    PlanSet,
    plan_name,
)
from c2t.runtime.engines.tensorrt_library import Target, TensorRT, load_tensorrt
from c2t.runtime.graphs.backend_variant import (
    BackendVariant,
    check_buildable,
    int8_linears,
    write_variant,
)
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import BundleError, EngineError
from c2t.runtime.system.files import atomic_folder
from c2t.runtime.system.machine import Machine, look_at_machine
from c2t.runtime.system.progress import progress_bar

Report = Callable[[str], None]
TIMING_NAME = "timing.cache"
# A plan holds its weights and some megabytes of code. A larger one has widened some weights. The
# size of a small model's plan says nothing.
KEPT_SHARE = 1.1
CODE_BYTES = 12 << 20


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What to build.

    Args:
        target: For TensorRT or TensorRT for RTX.
        gpus: Compute capabilities, such as "sm_89"; empty: of the GPU that is here.
        dtype: "float16", "bfloat16" or "float32"; see `BackendVariant`.
        use: Most rows, tokens and drafts.
        lean: Version-compatible plans, which the lean runtime can run.
        cache: Folder for plans; None: see `c2t.runtime.engines.built.folder.plan_cache`.
        force: Build again what is there already.
    """

    target: Target
    gpus: tuple[str, ...] = ()
    dtype: str = "float16"
    use: PlanUse = field(default_factory=PlanUse)
    lean: bool = False
    cache: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class BuiltPlans:
    """Where the plans are, their record, and whether they were there already."""

    folder: str
    found: bool
    plan_set: PlanSet


def build_plans(
    bundle: Bundle, options: BuildOptions, *, report: Report = lambda _: None
) -> BuiltPlans:
    """Build the plans of a bundle, or find them.

    Args:
        bundle: The bundle.
        options: What to build.
        report: Called with each line for the user.

    Raises:
        BundleError: TensorRT cannot run a bundle of this precision or its decoder's attention, or
            there is no such dtype.
        EngineError: TensorRT is not installed, cannot build, or knows no such GPU.
        OutputError: The folder for plans cannot be written.
    """
    check_buildable(bundle.manifest.precision, options.dtype)
    library = load_tensorrt(options.target, build=True)
    if options.lean and library.target is Target.rtx:
        problem = "TensorRT for RTX has no lean runtime"
        raise EngineError(problem, hint="leave out --lean, or build with --target tensorrt")
    gpus = _gpus(library, options.gpus, look_at_machine())
    variant = _variant(bundle, library, options)
    check_attention(
        bundle.graph_alone(DECODER_GRAPH),
        library.name,
        error=BundleError,
        capacity=variant.cache_capacity,
    )
    identity = _identity(bundle, library, gpus, variant, options)
    cache = plan_cache(bundle, options.cache)
    folder = cache / identity.key
    if not options.force and (folder / PLANS_NAME).is_file():
        known = read_plan_set(folder)
        if known.identity == identity:
            return BuiltPlans(folder=str(folder), found=True, plan_set=known)
    make_cache(cache)
    timing = cache / TIMING_NAME if library.target is Target.tensorrt else None
    plan_options = PlanOptions(gpus=gpus, lean=options.lean, timing_cache=timing)
    with atomic_folder(folder, force=True, marker=PLANS_NAME) as place:
        plans = {
            graph: _build(bundle, library, graph, place, identity, variant, plan_options, report)
            for graph in bundle.manifest.graphs
        }
        done = PlanSet(
            format_version=FORMAT_VERSION,
            c2t_version=c2t.__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            identity=identity,
            plans=plans,
        )
        (place / PLANS_NAME).write_bytes(json_bytes(done))
    return BuiltPlans(folder=str(folder), found=False, plan_set=done)


def _build(
    bundle: Bundle,
    library: TensorRT,
    graph: str,
    place: Path,
    identity: PlanIdentity,
    variant: BackendVariant,
    options: PlanOptions,
    report: Report,
) -> PlanFile:
    """Build one graph's plan into a folder; the variant it is built from is deleted."""
    since = time.perf_counter()
    target = place / plan_name(graph)
    with TemporaryDirectory(prefix=".variant-", dir=place) as scratch:
        source = Path(scratch) / graph
        weights = write_variant(bundle.file(graph), source, variant)
        linears = int8_linears(source)
        report(f"building {target.name} for {' '.join(identity.gpus)} ({weights / 1e6:,.0f} MB)")
        with progress_bar(f"building {target.name}", WHOLE) as advance:
            profiles = identity.profiles[graph]
            build_plan(library, source, target, profiles, options, advance=advance)
    size = target.stat().st_size
    return PlanFile(
        file=file_entries(place, [target.name])[target.name],
        weight_bytes=weights,
        int8_linears=len(linears),
        kept_int8=_kept_int8(size, weights) if linears else None,
        seconds=round(time.perf_counter() - since, 2),
    )


def _kept_int8(size: int, weights: int) -> bool | None:
    """Whether a plan of this size holds int8 weights as they are; None: too small to tell."""
    if weights < 2 * CODE_BYTES:
        return None
    return size <= KEPT_SHARE * weights + CODE_BYTES


def _variant(bundle: Bundle, library: TensorRT, options: BuildOptions) -> BackendVariant:
    return BackendVariant(
        dtype=options.dtype,
        # With quantised activations, TensorRT for RTX stores float16 weights for large linears.
        activations=library.target is Target.tensorrt or bundle.manifest.precision != "int8",
        cache_capacity=cache_capacity(bundle.manifest, options.use),
    )


def _identity(
    bundle: Bundle,
    library: TensorRT,
    gpus: tuple[str, ...],
    variant: BackendVariant,
    options: BuildOptions,
) -> PlanIdentity:
    manifest, use = bundle.manifest, options.use
    makers = dict(
        zip(GRAPHS, (encoder_profiles, projector_profiles, decoder_profiles), strict=True)
    )
    return PlanIdentity(
        bundle_sha256=bundle.digest,
        target=library.target,
        library_version=library.version,
        gpus=gpus,
        variant=variant.name,
        cache_capacity=variant.cache_capacity,
        rows=use.rows,
        lean=options.lean,
        profiles={graph: tuple(makers[graph](manifest, use)) for graph in manifest.graphs},
    )


def _gpus(library: TensorRT, asked: tuple[str, ...], machine: Machine) -> tuple[str, ...]:
    """Compute capabilities to build for.

    Raises:
        EngineError: No GPU is here or named, or TensorRT cannot build here for the one named.
    """
    here = tuple(gpu.sm for gpu in machine.gpus[:1])
    if library.target is Target.tensorrt:
        if not here:
            problem = f"TensorRT builds on the GPU it builds for: {machine.gpu_problem}"
            raise EngineError(problem, hint="build where the GPU is, or for RTX: --target rtx")
        if asked and asked != here:
            problem = f"the GPU here is {here[0]}, not {' '.join(asked)}"
            raise EngineError(problem, hint="TensorRT builds on the GPU it builds for")
        return here
    known = library.gpus
    gpus = tuple(sorted(set(asked))) or here
    if not gpus:
        problem = f"no GPU is named, and none is here: {machine.gpu_problem}"
        raise EngineError(problem, hint=f"name one: --gpu {' | '.join(known)}")
    unknown = [gpu for gpu in gpus if gpu not in known]
    if unknown:
        problem = f"{library.name} {library.version} does not build for {', '.join(unknown)}"
        raise EngineError(problem, hint=f"it builds for {', '.join(known)}")
    return gpus
