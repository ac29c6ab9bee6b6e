"""Run the fuzzers: `python tests/fuzz/run.py [--minutes N] [--seed S] [name ...]`.

Each case runs in a child process. Cases are numbered; the seed and the number make the input, so a
fault is found again with `--first NUMBER --cases 1 NAME`. The inputs of faults stay in `--kept`.
Each kind has a process of its own, which forks quickly because it loads only what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

# PYTHONSAFEPATH keeps a script's own folder off the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from child import GOOD, OUTCOMES, Target, try_case

TESTS = Path(__file__).resolve().parents[1]
# Kind of input -> the module with its target.
KINDS = {
    "manifest": "bundle_targets",
    "manifest-used": "bundle_targets",
    "sentences": "bundle_targets",
    "bundle-files": "bundle_targets",
    "graphs": "bundle_targets",
    "built": "bundle_targets",
    "h5ad-structure": "cell_targets",
    "h5ad-bytes": "cell_targets",
    "hdf5-formats": "format_targets",
    "hdf5-formats-bytes": "format_targets",
    "mex": "format_targets",
    "tables": "format_targets",
    "zarr": "format_targets",
    "orthologues": "format_targets",
    "pickles": "text_targets",
    "ontologies": "text_targets",
    "labels": "text_targets",
    "journal": "text_targets",
    "checkpoints": "checkpoint_targets",
    "joint-checkpoints": "joint_targets",
    "joint-bundles": "joint_targets",
}
ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    # A child has no thread but the one that forked.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": os.pathsep.join(str(TESTS / folder) for folder in ("support", "with_torch")),
}


def main() -> int:
    """Run, print the table, and return 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(KINDS)}; all without any")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all of them together")
    parser.add_argument("--cases", type=int, help="of each kind, instead of minutes")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-faults"), help="inputs of faults")
    parser.add_argument("--json", type=Path, help="write the counts there too")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.names) - KINDS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if given.worker:
        print(json.dumps(_work(given.names[0], given)))
        return 0
    names = given.names or list(KINDS)
    counts = {name: _in_worker(name, given, given.minutes / len(names)) for name in names}
    print(_table(counts))
    if given.json is not None:
        command = f"python tests/fuzz/run.py {' '.join(sys.argv[1:])}".strip()
        given.json.write_text(json.dumps({"command": command, "counts": counts}, indent=1) + "\n")
    faults = sum(n for count in counts.values() for name, n in count.items() if name not in GOOD)
    if faults:
        print(f"{faults} faults; their inputs are in {given.kept}")
    return int(faults > 0)


def _in_worker(name: str, given: argparse.Namespace, minutes: float) -> Counter[str]:
    """Run one kind in a process of its own."""
    words = [sys.executable, __file__, "--worker", name, "--minutes", str(minutes)]
    words += ["--seed", str(given.seed), "--first", str(given.first), "--kept", str(given.kept)]
    if given.cases is not None:
        words += ["--cases", str(given.cases)]
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(words, stdout=subprocess.PIPE, env=environment, text=True, check=True)
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def _work(name: str, given: argparse.Namespace) -> Counter[str]:
    """Run one kind here; faults are told on standard error."""
    module = importlib.import_module(KINDS[name])
    target: Target = {target.name: target for target in module.targets()}[name]
    for needed in target.loads:
        importlib.import_module(needed)
    given.kept.mkdir(parents=True, exist_ok=True)
    counts = Counter[str]()
    with tempfile.TemporaryDirectory(prefix="c2t-fuzz-") as scratch:
        if target.prepare is not None:
            target.prepare(Path(scratch))
        end, number = time.monotonic() + 60 * given.minutes, given.first
        while (
            number - given.first < given.cases
            if given.cases is not None
            else time.monotonic() < end
        ):
            result = try_case(target, given.seed, number, given.kept)
            counts[result.outcome] += 1
            if result.outcome not in GOOD:
                said = result.said.strip().splitlines() or [""]
                line = f"{name} {number}: {result.outcome}: {said[-1]}"
                print(line, file=sys.stderr, flush=True)
            number += 1
    return counts


def _table(counts: dict[str, Counter[str]]) -> str:
    head = ["broken", "tried", *OUTCOMES]
    lines = [head, ["---"] * len(head)]
    lines += [
        [name, str(count.total()), *(str(count[outcome]) for outcome in OUTCOMES)]
        for name, count in counts.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
