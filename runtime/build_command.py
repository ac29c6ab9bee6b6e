"""`c2t build`: its options, and nothing that takes long to load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line import import_stage, open_checked, print_json, say
from c2t.runtime.plans.tensorrt_module import Target


def build(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A float32 or int8 bundle.")],
    target: Annotated[
        Target, typer.Option(help="rtx builds for any RTX GPU, tensorrt for the one that is here.")
    ],
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="Compute capability, such as sm_89; may be given several times."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float16, bfloat16 or float32: what is not int8.")
    ] = "float16",
    rows: Annotated[int, typer.Option(min=1, help="Cells written at the same time, or beams.")] = 8,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest text.  [default: the bundle's]")
    ] = None,
    lean: Annotated[
        bool, typer.Option("--lean", help="Plans that TensorRT's lean runtime can run.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for plans.  [default: BUNDLE.engines]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Build TensorRT plans of a bundle for a GPU.

    They are kept beside the bundle and found again. For RTX, no GPU is needed here.
    """
    stage = import_stage("c2t.runtime.plans.build_plans", extra=target.value)
    from c2t.runtime.plans.plan_profiles import PlanUse

    done = stage.build_plans(
        open_checked(bundle),
        stage.BuildOptions(
            target=target,
            gpus=tuple(gpu or ()),
            dtype=precision,
            use=PlanUse(rows=rows, max_new_tokens=max_new_tokens),
            lean=lean,
            cache=cache,
            force=force,
        ),
        report=say,
    )
    if json:
        print_json(done)
    size = sum(plan.file.bytes for plan in done.plan_set.plans.values())
    how = "found" if done.found else "built"
    say(f"{how} {done.folder} ({size / 1e6:,.0f} MB)")
    for graph, plan in done.plan_set.plans.items():
        if plan.kept_int8 is False:
            say(
                f"warning: {graph}: TensorRT widened int8 weights; the plan is larger than they are"
            )
