"""Everything that needs a GPU, in one go: checks first, then times, one JSON after each part.

Each part runs in a process of its own, so that one that fails or hangs costs nothing but itself,
and says "not executed" with the reason where something is missing. Needs c2t[gpu] and onnx; the
demo bundle; a skeleton of a 1B bundle (benchmarks/random_bundle.py), which is filled here. To pack
all that for a machine without a network: benchmarks/gpu_engines.sh.

    python benchmarks/gpu_engines.py --demo DEMO --skeleton SKELETON --scratch DIR -o RESULT.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from gpu_decoder import GENERATED, STEPS, check_decoder
from gpu_parts import demo, environment, fill, kernels, rtx
from gpu_step import step_kernel

from c2t.runtime.bench.record import record
from c2t.runtime.system.machine import look_at_machine

HERE = Path(__file__).parent
TARGETS = {"step_share_of_floor": 0.7, "step_times_eager": 3.0, "text_times_eager": 10.0}
# Seconds that a part may take, in the order in which they run.
PARTS = {
    "environment": 30,
    "kernels": 90,
    "demo": 90,
    "fill": 150,
    "decoder float16": 150,
    "peer eager": 90,
    "step kernel": 120,
    "decoder float16-graphs": 120,
    "decoder float32": 120,
    "peer compiled": 150,
    "rtx": 30,
}


def main() -> None:
    """Run the parts that are asked for, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, required=True, help="the demo's bundle")
    parser.add_argument("--skeleton", type=Path, help="a 1B bundle without weights")
    parser.add_argument("--scratch", type=Path, required=True, help="room for 9 GB")
    parser.add_argument("--plans", type=Path, help="plans of the demo for sm_80, built elsewhere")
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
        document["parts"][name] = found = start_part(name, options, left)
        document["reached"] = reached(document["parts"])
        options.output.write_text(json.dumps(document, indent=1) + "\n")
        said = found.get("not executed") or found.get("failed") or f"{found['seconds']:.1f} s"
        print(f"{name}: {said}", flush=True)
    print(json.dumps(document["reached"]))


def start_part(name: str, options: argparse.Namespace, left: float) -> dict[str, Any]:
    """Run a part in a process of its own; what it had written when it ended is kept."""
    if left < 10:
        return {"not executed": "no time was left"}
    result = options.scratch / f"{name.replace(' ', '-')}.json"
    result.unlink(missing_ok=True)
    if name.startswith("peer "):
        command = [sys.executable, str(HERE / "gpu_peer.py"), "float16"]
        command += [name.partition(" ")[2], "320", str(STEPS)]
    else:
        command = [sys.executable, __file__, *sys.argv[1:], "--part", name]
    without_gpu = look_at_machine().gpu_problem
    if without_gpu and name not in ("environment", "fill"):
        return {"not executed": f"no GPU: {without_gpu}"}
    since = perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=min(left, PARTS[name]), check=False
        )
        code, output, error = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        code, output, error = -1, "", f"stopped after {late.timeout:.0f} s"
    found: dict[str, Any] = {}
    if result.is_file():
        found = json.loads(result.read_text())
    elif name.startswith("peer ") and code == 0:
        found = json.loads(output.splitlines()[-1])
    found["seconds"] = round(perf_counter() - since, 2)
    if code:
        # The error itself, without the lines of code that it passed.
        lines = [line for line in error.strip().splitlines() if line and not line[0].isspace()]
        found["failed"] = "\n".join(lines[-3:])
    return found


def run_part(options: argparse.Namespace) -> None:
    """One part, in this process; its figures are written as they come."""
    target = options.scratch / f"{options.part.replace(' ', '-')}.json"
    figures: dict[str, Any] = {}

    def note(**values: Any) -> None:
        figures.update(values)
        target.write_text(json.dumps(figures))

    name, _, form = options.part.partition(" ")
    if name == "decoder":
        check_decoder(options, note, form)
    else:
        simple: dict[str, Callable[..., None]] = {
            "environment": environment,
            "kernels": kernels,
            "demo": demo,
            "fill": fill,
            "rtx": rtx,
            "step kernel": step_kernel,
        }
        simple[options.part](options, note)


def reached(parts: dict[str, Any]) -> dict[str, float]:
    """The figures that there are targets for, as far as they were measured."""
    found = {}
    with contextlib.suppress(KeyError):
        step = parts["decoder float16"]["cuda graph"]["1 tokens"]
        found["step_share_of_floor"] = step["share_of_floor"]
        eager = parts["peer eager"]
        found["step_times_eager"] = eager["step_seconds"] / step["seconds"]
        text = parts["decoder float16"]["text"]
        whole = eager["prefill_seconds"] + (GENERATED - 1) * eager["step_seconds"]
        for name, ours in text.items():
            found[f"text_times_eager, {name}"] = whole / ours["seconds"]
    return found


if __name__ == "__main__":
    main()
