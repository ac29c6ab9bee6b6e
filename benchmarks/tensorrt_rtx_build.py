"""What building a bundle's plans with TensorRT for RTX takes, GPU by GPU; no GPU is needed.

    c2t export --preset llama-3.2-1b+geneformer-v2-104m --random -o BUNDLE
    python benchmarks/tensorrt_rtx_build.py BUNDLE INT8 -o RESULT.json

Times and sizes do not depend on the weights, which may be random. Each build is `c2t build` in a
process of its own, so that its peak memory is its own; the plans are thrown away. An inspector
would need the GPU: whether int8 weights stayed int8 is read off the plan's size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from c2t.runtime.bench.record import Target, finish, record, target
from c2t.runtime.build.build_plans import KEPT_SHARE
from c2t.runtime.bundle.bundle import open_bundle

# The command, and at the end the most memory that its process held.
MEASURED = """
import sys
from c2t.cli import main
from c2t.runtime.bench.record import Target, finish, peak_resident_bytes, record, target
try:
    main()
finally:
    print(peak_resident_bytes(), file=sys.stderr)
"""
GPUS = ("sm_86", "sm_89", "sm_120")


def main() -> None:
    """Build each bundle for each GPU, and keep the figures of what is done after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--gpu", action="append", help=f"default: {' '.join(GPUS)}")
    parser.add_argument("--precision", default="float16")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("tensorrt_rtx_build", threads=None, seed=0)
    document["versions"]["tensorrt-rtx"] = metadata.version("tensorrt-rtx-cu13")
    document["builds"] = builds = []
    for path in options.bundles:
        manifest = open_bundle(path, verify=False).manifest
        for gpu in options.gpu or GPUS:
            builds.append(
                {
                    "model": f"{manifest.encoder.model} | {manifest.decoder.model}",
                    "bundle": manifest.precision,
                    "gpu": gpu,
                    **build(path, gpu, options.precision),
                }
            )
            print(json.dumps(builds[-1]), file=sys.stderr, flush=True)
    finish(document, targets(builds), options.output)


def build(bundle: Path, gpu: str, precision: str) -> dict[str, Any]:
    """`c2t build` in a process of its own."""
    with TemporaryDirectory(dir=bundle.resolve().parent) as cache:
        command = ["build", str(bundle), "--target", "rtx", "--gpu", gpu, "--precision", precision]
        done = subprocess.run(
            [sys.executable, "-P", "-c", MEASURED, *command, "--cache", cache, "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    plan_set = json.loads(done.stdout)["plan_set"]
    return {
        "peak_resident_bytes": int(done.stderr.split()[-1]),
        "form": plan_set["identity"]["form"],
        "cache_capacity": plan_set["identity"]["cache_capacity"],
        "plans": {
            graph: {
                "seconds": plan["seconds"],
                "plan_bytes": plan["file"]["bytes"],
                "weight_bytes": plan["weight_bytes"],
                "plan_of_weights": plan["file"]["bytes"] / plan["weight_bytes"],
                "int8_products": plan["int8_products"],
                "kept_int8": plan["kept_int8"],
            }
            for graph, plan in plan_set["plans"].items()
        },
    }


def targets(builds: list[dict[str, Any]]) -> list[Target]:
    """Large plans hold their weights and little else, whatever GPU they are for."""
    return [
        target(
            f"{b['bundle']} {b['gpu']} {graph}: {KEPT_SHARE} times its weights over the plan",
            KEPT_SHARE * plan["weight_bytes"] / plan["plan_bytes"],
            1.0,
        )
        for b in builds
        for graph, plan in b["plans"].items()
        if plan["weight_bytes"] > 512 << 20  # smaller plans hold megabytes of code beside
    ]


if __name__ == "__main__":
    main()
