"""Opening plans for running: of this bundle, for this GPU, by this TensorRT, byte for byte.

One decision: everything is checked before TensorRT sees a byte. Each thing that can be wrong has a
sentence of its own, and the command that mends it. Plans may not contain code for the CPU
(`engine_host_code_allowed` stays off): whoever may write to their folder must not run code here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import is_content
from c2t.runtime.engines.built.folder import check_built_signature, plan_cache, plan_sets
from c2t.runtime.engines.built.plan_set import PlanIdentity, PlanSet, plan_name
from c2t.runtime.engines.tensorrt_library import Target, TensorRT, load_tensorrt, message_log, start
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.machine import Machine, look_at_machine


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenedPlans:
    """Deserialised plans, and the objects that they need to stay alive.

    Args:
        library: TensorRT.
        folder: Where they lie; TensorRT for RTX keeps its runtime cache there.
        plan_set: Their record.
        engines: `ICudaEngine` by graph file.
        keep: The runtime and its logger.
    """

    library: TensorRT
    folder: Path
    plan_set: PlanSet
    engines: dict[str, Any]
    keep: tuple[Any, ...]


def open_plans(
    bundle: Bundle,
    target: Target,
    *,
    rows: int = 1,
    capacity: int = 1,
    cache: Path | None = None,
    machine: Machine | None = None,
) -> OpenedPlans:
    """Open the newest plans of a bundle that fit this machine and this use.

    Args:
        bundle: The bundle.
        target: TensorRT or TensorRT for RTX.
        rows: Cells that will be written at the same time.
        capacity: Cache positions that will be needed.
        cache: Folder of what `c2t build` makes; None: see `plan_cache`.
        machine: Where they are to run; None: here.

    Raises:
        EngineError: There are none that fit, or they are damaged; the hint is the command to run.
    """
    library = load_tensorrt(target)
    machine = machine or look_at_machine()
    if not machine.gpus:
        problem = f"plans run on an NVIDIA GPU: {machine.gpu_problem}"
        raise EngineError(problem, hint="run `c2t doctor`, or describe with --engine cpu")
    folder, plan_set = choose_plans(
        list(plan_sets(plan_cache(bundle, cache))),
        bundle,
        library,
        gpu=machine.gpus[0].sm,
        rows=rows,
        capacity=capacity,
    )
    plans = _checked_plans(folder, plan_set, bundle)
    files = {plan_name(graph): plan.file.sha256 for graph, plan in plan_set.plans.items()}
    check_built_signature(folder, files, bundle)
    log = message_log(library)
    runtime = start(library, "Runtime", log)
    engines = {
        graph: _deserialise(library, runtime, graph, plans.pop(graph), bundle, log)
        for graph in bundle.manifest.graphs
    }
    return OpenedPlans(
        library=library,
        folder=folder,
        plan_set=plan_set,
        engines=engines,
        keep=(runtime, log),
    )


def choose_plans(
    known: Sequence[tuple[Path, PlanSet]],
    bundle: Bundle,
    library: TensorRT,
    *,
    gpu: str,
    rows: int,
    capacity: int,
) -> tuple[Path, PlanSet]:
    """The first plan set that fits.

    Args:
        known: Folders and plan sets, the newest first.
        bundle: What they must be of.
        library: What must run them.
        gpu: Compute capability of the GPU, such as "sm_89".
        rows: Cells that will be written at the same time.
        capacity: Cache positions that will be needed.

    Raises:
        EngineError: None fits. The error says what is wrong with the newest of those that fit best.
    """
    hint = f"build it here with `{build_command(bundle, library.target, gpu)}`"
    name = {Target.tensorrt: "TensorRT", Target.rtx: "TensorRT for RTX"}[library.target]
    mine = [item for item in known if item[1].identity.target is library.target]
    if not mine:
        problem = f"there are no plans of {bundle.path} for {name}"
        raise EngineError(problem, hint=hint)
    steps: tuple[tuple[Callable[[PlanIdentity], bool], Callable[[PlanIdentity], str]], ...] = (
        (
            lambda i: i.bundle_sha256 == bundle.digest,
            lambda i: "the plans were built from another version of this bundle",
        ),
        (
            lambda i: gpu in i.gpus,
            lambda i: f"the plans were built for {' '.join(i.gpus)}; the GPU here is {gpu}",
        ),
        (
            lambda i: _runs(library, i.library_version, lean=i.lean),
            lambda i: (
                f"the plans were built with {name} {i.library_version}; "
                f"{library.name} here is {library.version}"
            ),
        ),
        (
            lambda i: i.rows >= rows,
            lambda i: f"the plans take {i.rows} cells at a time, not {rows}",
        ),
        (
            lambda i: i.cache_capacity >= capacity,
            lambda i: f"the plans hold {i.cache_capacity} tokens a cell; {capacity} are needed",
        ),
    )
    for fits, sentence in steps:
        left = [item for item in mine if fits(item[1].identity)]
        if not left:
            raise EngineError(sentence(mine[0][1].identity), hint=hint)
        mine = left
    return mine[0]


def _checked_plans(folder: Path, plan_set: PlanSet, bundle: Bundle) -> dict[str, bytes]:
    """The plans by graph file. They are read once, so that the bytes that were hashed are loaded.

    Raises:
        EngineError: One was changed or damaged, or they are of other graphs than the bundle's.
    """
    if set(plan_set.plans) != set(bundle.manifest.graphs):
        problem = f"{folder} has plans of {', '.join(sorted(plan_set.plans))}"
        raise EngineError(problem, hint=f"the bundle has {', '.join(bundle.manifest.graphs)}")
    plans = {}
    for graph, plan in plan_set.plans.items():
        path = folder / plan_name(graph)
        plans[graph] = path.read_bytes()
        # What is signed are whole files.
        if not is_content(plans[graph], plan.file, wholly=bundle.trust is not None):
            problem = f"{path} was changed since it was built (SHA-256 differs)"
            command = build_command(bundle, plan_set.identity.target, *plan_set.identity.gpus)
            raise EngineError(problem, hint=f"build it again with `{command} --force`")
    return plans


def build_command(bundle: Bundle, target: Target, *gpus: str) -> str:
    """The command that builds plans of a bundle."""
    named = "".join(f" --gpu {gpu}" for gpu in gpus) if target is Target.rtx else ""
    return f"c2t build {shlex.quote(str(bundle.path))} --target {target}{named}"


def _runs(library: TensorRT, version: str, *, lean: bool) -> bool:
    """Whether plans of a TensorRT version run on this one.

    Plans built for the lean runtime run on later versions too.
    """
    if lean:
        return _numbers(library.version) >= _numbers(version)
    return not library.is_lean and library.version == version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _deserialise(
    library: TensorRT, runtime: Any, graph: str, plan: bytes, bundle: Bundle, log: Any
) -> Any:
    reason = ""
    if hasattr(runtime, "get_engine_validity"):
        validity, diagnostics = runtime.get_engine_validity(plan)
        if validity == library.module.EngineValidity.INVALID:
            reason = _diagnosis(library.module, diagnostics)
    engine = None if reason else runtime.deserialize_cuda_engine(plan)
    if engine is None:
        said = log.errors[-1].strip() if log.errors else "no reason is given"
        problem = (
            f"{library.name} {library.version} cannot load {plan_name(graph)}: {reason or said}"
        )
        hint = "is the driver recent, and GPU memory free? else build again: "
        raise EngineError(problem, hint=hint + build_command(bundle, library.target) + " --force")
    return engine


def _diagnosis(module: Any, diagnostics: int) -> str:
    """The bits of TensorRT's diagnosis in words."""
    known = getattr(module, "EngineInvalidityDiagnostics", None)
    names = [n for n in dir(known) if n.isupper() and int(getattr(known, n)) & int(diagnostics)]
    return ", ".join(name.lower().replace("_", " ") for name in names) or "it is not valid here"
