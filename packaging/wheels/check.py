"""Install the wheels of dist/ in empty environments, use them there, and write down what came out.

    python packaging/wheels/check.py [x86_64] [aarch64] -o benchmarks/results/wheels.json

Per processor: pip takes the wheel by its tag, `c2t verify` writes the tiny bundle's golden cells,
`c2t describe` describes a file, and the tests of `kernels/` run, the slow ones too. All processors
must write the same texts, those of an earlier result in the same file, too.

aarch64 runs in qemu-user (see emulated_python.sh), which is ten to twenty times as slow. Times
under an emulator say nothing about a real processor.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUNDLE = ROOT / "tests/data/tiny_bundle"
# What pip may take beside the wheel: the tags that a glibc of 2.28 allows.
GLIBC = ("2_17", "2_27", "2_28")
# A file of 40 cells, made with the tests' own helpers, which need no anndata.
MAKE_CELLS = (
    "import sys; from pathlib import Path; from cli_process import random_cells;"
    " random_cells(40).write_h5ad(Path(sys.argv[1]))"
)


def run(*command: object, environment: dict[str, str] | None = None) -> str:
    """Run a command, its errors shown; returns what it printed. Ends this program if it fails."""
    words = [*map(str, command)]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed ({done.returncode}):\n{done.stdout[-5000:]}")
    return done.stdout


def python_for(processor: str, folder: Path) -> Path:
    """A Python for this processor, emulated if it is not this machine's."""
    if processor == platform.machine():
        return Path(sys.executable)
    run("bash", HERE / "emulated_python.sh", folder)
    return folder / "bin/python3"


def bytes_in(folder: Path) -> int:
    """All files of a folder and those below it, together."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def install(python: Path, processor: str, wheel: Path, folder: Path) -> tuple[Path, int]:
    """Install wheel[cpu] in an empty environment, then pytest.

    Returns:
        Its folder of programs, and the bytes that wheel[cpu] and all that it needs take; on this
        machine's own processor with the bytecode that pip writes.
    """
    version = run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    platforms = [f"--platform=manylinux_{glibc}_{processor}" for glibc in GLIBC]
    packages = folder / "packages"
    # Downloaded here, for the other processor: pip's own work is quicker without the emulator.
    run(
        *(sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", packages),
        *(*platforms, f"--platform=manylinux2014_{processor}", f"--python-version={version}"),
        *("-c", ROOT / "constraints.txt", f"{wheel}[cpu]", "pytest"),
    )
    run(python, "-m", "venv", folder / "environment")
    programs = folder / "environment/bin"
    # Bytecode takes long to write under an emulator.
    bytecode = "--compile" if processor == platform.machine() else "--no-compile"
    offline = ("--no-index", "--find-links", packages, bytecode)
    empty = bytes_in(folder / "environment")
    run(programs / "python", "-m", "pip", "install", "-q", *offline, "c2t[cpu]")
    taken = bytes_in(folder / "environment") - empty
    run(programs / "python", "-m", "pip", "install", "-q", *offline, "pytest")
    return programs, taken


def count_tests(report: Path) -> dict[str, Any]:
    """How many tests of a run without failures passed; how many were skipped, and why."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    reasons = [child.get("message", "") for case in cases for child in case.iter("skipped")]
    return {
        "passed": len(cases) - len(reasons),
        "skipped": len(reasons),
        "skipped because": sorted(set(reasons)),
    }


def check(processor: str, wheel: Path, folder: Path) -> dict[str, Any]:
    """Install and use one wheel.

    Returns:
        What to write down.
    """
    start = time.perf_counter()
    python = python_for(processor, folder / "python")
    programs, taken = install(python, processor, wheel, folder)
    installed = time.perf_counter()
    # Nothing of this machine may be found: an emulated program would start it.
    environment = {"PATH": str(programs), "PYTHONSAFEPATH": "1", "HOME": str(folder)}
    support = {**environment, "PYTHONPATH": str(ROOT / "tests/support")}
    cells, described = folder / "cells.h5ad", folder / "described.jsonl"
    run(programs / "python", "-c", MAKE_CELLS, cells, environment=support)
    doctor = run(programs / "c2t", "doctor", environment=environment)
    verified = run(programs / "c2t", "verify", BUNDLE, environment=environment)
    describe = (programs / "c2t", "describe", BUNDLE, cells, "-o", described)
    run(*describe, environment=environment)
    records = [json.loads(line) for line in described.read_text(encoding="utf-8").splitlines()]
    texts = json.dumps([(record["cell"], record["text"]) for record in records])
    used = time.perf_counter()
    report = folder / "tests.xml"
    run(
        *(programs / "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ROOT),
        *("-c", ROOT / "pyproject.toml", "-m", "slow or not slow", f"--junitxml={report}"),
        ROOT / "tests/kernels",
        environment=environment,
    )
    return {
        "wheel": wheel.name,
        "bytes": wheel.stat().st_size,
        "bytes installed, with all of [cpu]": taken,
        "emulated": processor != platform.machine(),
        "kernels": next(line.strip() for line in doctor.splitlines() if "implementation" in line),
        "verify": verified.strip().splitlines()[-1],
        "described": {
            "cells": len(records),
            "failed": sum(record["error"] is not None for record in records),
            "SHA-256 of their texts": hashlib.sha256(texts.encode()).hexdigest(),
        },
        "tests of kernels": count_tests(report),
        "seconds": {
            "install": round(installed - start),
            "verify and describe": round(used - installed),
            "tests": round(time.perf_counter() - used),
        },
    }


def main() -> None:
    """Check the wheels, and write the result if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("processors", nargs="*", default=["x86_64", "aarch64"])
    parser.add_argument("--work", type=Path, help="a folder to keep; else a temporary one")
    parser.add_argument("-o", "--output", type=Path, help="the result; else it is only printed")
    options = parser.parse_args()
    work = (options.work or Path(tempfile.mkdtemp(prefix="c2t-wheels-"))).resolve()
    results: dict[str, Any] = {}
    try:
        for processor in options.processors:
            wheels = sorted((ROOT / "dist").glob(f"c2t-*manylinux*_{processor}.whl"))
            if not wheels:
                sys.exit(f"no wheel for {processor} in dist/: bash packaging/wheels/build.sh")
            results[processor] = check(processor, wheels[-1], work / processor)
            print(json.dumps(results[processor], indent=2, ensure_ascii=False))
    finally:
        if options.work is None:
            shutil.rmtree(work)
    known = options.output is not None and options.output.is_file()
    before = json.loads(options.output.read_text("utf-8"))["processors"] if known else {}
    results = dict(sorted({**before, **results}.items()))
    texts = {result["described"]["SHA-256 of their texts"] for result in results.values()}
    if len(texts) > 1:
        sys.exit(f"the processors described the same cells in {len(texts)} ways")
    if options.output is not None:
        document = {
            "command": "python packaging/wheels/check.py -o benchmarks/results/wheels.json",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "processors": results,
        }
        text = json.dumps(document, indent=2, ensure_ascii=False)
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
