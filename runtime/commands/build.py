"""`c2t build`: its options, and nothing that takes long to load."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c2t.runtime.command_line.options import JsonOption, TrustOption
from c2t.runtime.command_line.run import UsageError, import_stage, open_checked, print_json, say
from c2t.runtime.engines.tensorrt_library import Target

if TYPE_CHECKING:
    from c2t.runtime.bundle.bundle import Bundle
    from c2t.runtime.bundle.manifest import FileEntry

ROWS = 8


class BuildTarget(enum.StrEnum):
    """The library that runs what is built."""

    rtx = "rtx"
    tensorrt = "tensorrt"
    cuda = "cuda"
    cpu = "cpu"


def build(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A float32 or int8 bundle.")],
    target: Annotated[
        BuildTarget,
        typer.Option(
            help="rtx builds plans for any RTX GPU, tensorrt for the one that is here; "
            "cuda writes half-precision graphs for ONNX Runtime, on any GPU; cpu packs the "
            "decoder's weights for this machine's processor, so that it opens at once."
        ),
    ],
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="Plans: compute capability, such as sm_89; may be given several times."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="float16, bfloat16 or (plans only) float32: what is not int8."),
    ] = "float16",
    rows: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Plans: cells written at the same time, or beams.  [default: {ROWS}]"
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Plans: longest text.  [default: the bundle's]")
    ] = None,
    lean: Annotated[
        bool, typer.Option("--lean", help="Plans that TensorRT's lean runtime can run.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for what is built.  [default: BUNDLE.engines]")
    ] = None,
    trust: TrustOption = None,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Build a bundle for a GPU (TensorRT plans, graphs for ONNX Runtime) or for this CPU.

    What is built is kept beside the bundle and found again. No GPU is needed here for RTX and CUDA.
    """
    if target in (BuildTarget.cuda, BuildTarget.cpu):
        plans_only = {
            "--gpu": gpu,
            "--rows": rows,
            "--max-new-tokens": max_new_tokens,
            "--lean": lean,
            "--precision": target is BuildTarget.cpu and precision != "float16",
        }
        if given := [name for name, value in plans_only.items() if value]:
            problem = f"{', '.join(given)}: --target {target.value} has no such choice"
            hint = (
                "its graphs run on any GPU, with any number of rows"
                if target is BuildTarget.cuda
                else "weights are packed as they are, for this processor and any number of rows"
            )
            raise UsageError(problem, hint=hint)
    if target is BuildTarget.cpu:
        _build_packed(open_checked(bundle, trust), cache, force=force, json=json)
        return
    if target is BuildTarget.cuda:
        opening = functools.partial(open_checked, bundle, trust)
        _build_half_graphs(opening, precision, cache, force=force, json=json)
        return
    stage = import_stage("c2t.runtime.build.build_plans", extra=target.value)
    from c2t.runtime.engines.built.plan_profiles import PlanUse

    done = stage.build_plans(
        open_checked(bundle, trust),
        stage.BuildOptions(
            target=Target(target.value),
            gpus=tuple(gpu or ()),
            dtype=precision,
            use=PlanUse(rows=rows or ROWS, max_new_tokens=max_new_tokens),
            lean=lean,
            cache=cache,
            force=force,
        ),
        report=say,
    )
    if json:
        print_json(done)
    plans = done.plan_set.plans
    _say_where(done.folder, [plan.file for plan in plans.values()], found=done.found)
    for graph, plan in plans.items():
        if plan.kept_int8 is False:
            say(
                f"warning: {graph}: TensorRT widened int8 weights; the plan is larger than they are"
            )


def _build_half_graphs(
    opening: Callable[[], Bundle], precision: str, cache: Path | None, *, force: bool, json: bool
) -> None:
    stage = import_stage("c2t.runtime.build.build_half_graphs", extra="gpu")
    done = stage.build_half_graphs(
        opening(),
        stage.HalfGraphsOptions(dtype=precision, cache=cache, force=force),
        report=say,
    )
    if json:
        print_json(done)
    _say_where(done.folder, list(done.record.files.values()), found=done.found)


def _build_packed(bundle: Bundle, cache: Path | None, *, force: bool, json: bool) -> None:
    from c2t.runtime.build.build_packed import build_packed

    done = build_packed(bundle, cache=cache, force=force, report=say)
    if json:
        print_json(done)
    _say_where(done.folder, list(done.record.files.values()), found=done.found)


def _say_where(folder: str, files: list[FileEntry], *, found: bool) -> None:
    size = sum(file.bytes for file in files)
    say(f"{'found' if found else 'built'} {folder} ({size / 1e6:,.0f} MB)")
