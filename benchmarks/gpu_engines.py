r"""All that needs a GPU, in one go: the tests, then the times, one JSON after each part.

Each part is a process, so that one that fails or hangs costs only itself. A part for which
something is missing says "not executed", with the reason. Needs c2t[gpu], onnx and pytest, the demo
bundle, and skeletons of a 1B bundle in float32 and in INT8 (benchmarks/preset_data.py), which are
filled here. For a machine without a network, benchmarks/gpu_engines.sh packs all that.

    python benchmarks/gpu_engines.py --demo DEMO --skeleton SKELETON --skeleton-int8 SKELETON \
        --scratch DIR -o RESULT.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from gpu_sizes import BATCHES

from c2t.runtime.bench.record import record
from c2t.runtime.system.machine import look_at_machine

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
TARGETS = {
    "step_share_of_floor": 0.7,
    "int8_step_share_of_floor": 0.7,
    "step_times_eager": 3.0,
    "text_times_eager": 10.0,
    "embedding_of_copy_bandwidth": 0.8,
}
# Seconds that a part may take, in the order in which they run.
PARTS = {
    "environment": 30,
    "tests": 240,
    "fill": 120,
    "fill int8": 90,
    "decoder int8": 90,
    "cells int8": 90,
    "peer batched": 120,
    "decoder float16": 150,
    "peer eager": 90,
    "cells float16": 90,
    "step int8": 120,
    "step kernel": 120,
    "decoder float16-graphs": 120,
    "decoder float32": 120,
    "kernels": 60,
    "peer compiled": 150,
}
WITHOUT_GPU = ("environment", "fill", "fill int8")
PEER_PROMPT, PEER_VECTORS, PEER_STEPS = 320, 256, 60


def main() -> None:
    """Run the parts that are asked for, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, required=True, help="the demo's bundle")
    parser.add_argument("--skeleton", type=Path, help="a 1B bundle without weights")
    parser.add_argument("--skeleton-int8", type=Path, help="of its INT8 bundle, likewise")
    parser.add_argument("--scratch", type=Path, required=True, help="room for 14 GB")
    parser.add_argument("--seconds", type=float, default=540, help="of all parts together")
    parser.add_argument("--only", help="parts, with commas")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.scratch = options.scratch.resolve()  # links lie in it
    if options.part:
        run_part(options)
        return
    begin = perf_counter()
    options.scratch.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = record("gpu_engines", threads=None, seed=0)
    machine = look_at_machine()
    document |= {"gpus": [gpu.name for gpu in machine.gpus], "targets": TARGETS, "parts": {}}
    for name in options.only.split(",") if options.only else PARTS:
        left = options.seconds - (perf_counter() - begin)
        document["parts"][name] = part = start_part(name, options, left)
        document["reached"] = reached(document["parts"])
        options.output.write_text(json.dumps(document, indent=1) + "\n")
        said = part.get("not executed") or part.get("failed") or f"{part['seconds']:.1f} s"
        print(f"{name}: {said}", flush=True)
    print(json.dumps(document["reached"]))


def start_part(name: str, options: argparse.Namespace, left: float) -> dict[str, Any]:
    """Run a part as a process; figures that it had written when it ended are kept."""
    if left < 10:
        return {"not executed": "no time was left"}
    if name not in WITHOUT_GPU and (problem := look_at_machine().gpu_problem):
        return {"not executed": f"no GPU: {problem}"}
    kind, _, way = name.partition(" ")
    made = "int8" if way == "int8" else "float16"
    if kind in ("decoder", "step", "cells") and not (options.scratch / made).exists():
        return {"not executed": f"the part that fills a bundle has made no graphs {made}"}
    result = figures_file(options.scratch, name)
    result.unlink(missing_ok=True)
    if kind == "peer":
        command = [sys.executable, str(HERE / "gpu_peer.py"), "float16", way]
        command += map(str, prompt_of(options) if way == "batched" else (PEER_PROMPT, PEER_STEPS))
    elif name == "tests":
        program = [sys.executable, "-P", "-c", "import pytest, sys; sys.exit(pytest.main())"]
        command = [*program, "-q", "-m", "gpu", "--confcutdir", str(TESTS / "gpu")]
        command += ["-c", str(HERE.parent / "pyproject.toml"), str(TESTS / "gpu")]
    else:
        command = [sys.executable, __file__, *sys.argv[1:], "--part", name]
    # The parts check before they time, by the functions of the tests.
    path = os.pathsep.join(filter(None, (str(TESTS / "support"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "C2T_GPU_BUNDLES": str(options.demo.resolve())}
    since = perf_counter()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=min(left, PARTS[name]),
            check=False,
            env=environment,
        )
        code, output, error = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        code, output, error = -1, "", f"stopped after {late.timeout:.0f} s"
    part: dict[str, Any] = {}
    if result.is_file():
        part = json.loads(result.read_text())
    elif kind == "peer" and code == 0:
        part = json.loads(output.splitlines()[-1])
    elif name == "tests":  # its last lines name what failed, and what was skipped and why
        part = {"summary": output.strip().splitlines()[-40:]}
    part["seconds"] = round(perf_counter() - since, 2)
    if code:
        # The error itself, without the lines of code that it passed.
        lines = [line for line in error.strip().splitlines() if line and not line[0].isspace()]
        part["failed"] = "\n".join(lines[-3:]) or f"exit code {code}"
    return part


def figures_file(scratch: Path, part: str) -> Path:
    """Where a part writes its figures."""
    return scratch / f"{part.replace(' ', '-')}.json"


def run_part(options: argparse.Namespace) -> None:
    """One part, in this process; its figures are written as they come."""
    target = figures_file(options.scratch, options.part)
    figures: dict[str, Any] = {}

    def note(**values: Any) -> None:
        figures.update(values)
        target.write_text(json.dumps(figures))

    kind, _, variant = options.part.partition(" ")
    if kind == "environment":
        environment(note)
    elif kind == "fill":
        fill(options, note, int8=variant == "int8")
    elif kind == "decoder":
        from gpu_decoder import time_decoder

        time_decoder(options, note, variant)
    elif kind == "cells":
        from gpu_cells import time_cells

        time_cells(options, note, variant)
    elif kind == "step":
        from gpu_step import take_step_apart

        take_step_apart(options, note, int8=variant == "int8")
    elif kind == "kernels":
        from gpu_kernels import time_kernels

        time_kernels(options, note)


def environment(note: Callable[..., None]) -> None:
    """What `c2t doctor` sees here."""
    from c2t.runtime.commands.doctor import diagnose

    machine = look_at_machine()
    note(
        gpus=[f"{g.name}, {g.sm}, {g.memory_bytes}" for g in machine.gpus],
        driver=machine.cuda_driver,
    )
    for engine in diagnose().engines:
        note(**{engine.name: engine.version if engine.runs else list(engine.reasons)})


def prompt_of(options: argparse.Namespace) -> tuple[int, int]:
    """Tokens of a prompt of the 1B bundle, and the cell vectors among them."""
    if options.skeleton is None:
        return PEER_PROMPT, PEER_VECTORS
    manifest = json.loads((options.skeleton / "manifest.json").read_text())
    prompt, vectors = manifest["prompt"], manifest["projector"]["vectors"]
    return len(prompt["prefix_ids"]) + vectors + len(prompt["suffix_ids"]), vectors


def fill(options: argparse.Namespace, note: Callable[..., None], *, int8: bool = False) -> None:
    """The 1B bundle with random weights, and its half-precision graphs."""
    from preset_data import fill as fill_bundle

    from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.bundle.manifest import GRAPHS

    skeleton = options.skeleton_int8 if int8 else options.skeleton
    if skeleton is None:
        note(**{"not executed": "no skeleton of such a 1B bundle was given"})
        return
    folder = options.scratch / ("bundle-int8" if int8 else "bundle")
    since = perf_counter()
    fill_bundle(skeleton, folder)
    note(fill_seconds=perf_counter() - since)
    since = perf_counter()
    built = build_half_graphs(open_bundle(folder, verify=False), HalfGraphsOptions())
    note(half_graphs_seconds=perf_counter() - since)
    if int8:  # the kernel reads the weights of the bundle itself
        link(options.scratch / "int8", Path(built.folder).resolve())
        return
    # By the names of the decoder's variants: with the kernel's description of weights, and without.
    link(options.scratch / "float16", Path(built.folder).resolve())
    graphs = options.scratch / "float16-graphs"
    graphs.mkdir(exist_ok=True)
    for name in GRAPHS:
        for file in (name, f"{name}.data"):
            link(graphs / file, Path(built.folder).resolve() / file)


def link(place: Path, target: Path) -> None:
    """Make a link, in place of an old one."""
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def reached(parts: dict[str, Any]) -> dict[str, float]:
    """The figures that there are targets for, as far as they were measured."""
    figures = {}
    with contextlib.suppress(KeyError):
        step = parts["decoder float16"]["cuda graph"]["1 tokens"]
        figures["step_share_of_floor"] = step["share_of_floor"]
        eager = parts["peer eager"]
        figures["step_times_eager"] = eager["step_seconds"] / step["seconds"]
        texts = parts["decoder float16"]["text"]
        tokens = texts["tokens"]
        whole = eager["prefill_seconds"] + (tokens - 1) * eager["step_seconds"]
        for name in ("no drafts", "one in ten wrong", "every draft right"):
            figures[f"text_times_eager, {name}"] = whole / texts[name]["seconds"]
    with contextlib.suppress(KeyError):
        steps = parts["decoder int8"]["cuda graph"]
        figures["int8_step_share_of_floor"] = steps["1 tokens"]["share_of_floor"]
        for tokens in (16, 32, 64, 128, 256):
            share = steps[f"{tokens} tokens"]["share_of_floor"]
            figures[f"int8_{tokens}_tokens_share_of_floor"] = share
    for variant in ("int8", "float16"):
        for batch in BATCHES:
            with contextlib.suppress(KeyError):
                ours = parts[f"cells {variant}"][f"batches of {batch}"]["cells_per_second"]
                theirs = parts["peer batched"][f"batches of {batch}"]["cells_per_second"]
                figures[f"{variant}_cells_times_batched, {batch}"] = ours / theirs
    shares = [
        part["of_copy_bandwidth"]
        for name, part in parts.get("kernels", {}).items()
        if name.startswith("embedding of")
    ]
    if shares:
        figures["embedding_of_copy_bandwidth"] = min(shares)
    return figures


if __name__ == "__main__":
    main()
