"""Run the fuzzers: `python tests/fuzz/run.py [--minutes N] [--seed S] [name ...]`.

Each case runs in a child process. Cases are numbered; the seed and the number make the input, so a
fault is found again with `--first NUMBER --cases 1`. The inputs of faults stay in `--kept`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# One thread: a child has none but the one that forked.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
TESTS = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(TESTS / "support"), str(TESTS / "with_torch")]

import bundle_targets  # noqa: E402
import cell_targets  # noqa: E402
import checkpoint_targets  # noqa: E402
import text_targets  # noqa: E402
from child import GOOD, OUTCOMES, Target, try_case  # noqa: E402

PREPARE: dict[str, Callable[[Path], None]] = {
    "built": bundle_targets.prepare_built,
    "h5ad-structure": cell_targets.prepare_cells,
    "h5ad-bytes": cell_targets.prepare_cells,
    "checkpoints": checkpoint_targets.prepare_checkpoints,
}
# Loaded before the first fork: a child should not spend its time on it.
LOADED = (
    *("c2t.runtime.engines.cpu.encoder", "c2t.runtime.bundle.gene_vocabulary", "tokenizers"),
    *(
        "c2t.kernels.gene_embedding.tables",
        "onnxruntime",
        "zstandard",
        "obonet",
        "safetensors.numpy",
    ),
    *("c2t.runtime.cells.formats", "scipy.sparse", "onnx.numpy_helper"),
)
ALL = (bundle_targets, cell_targets, text_targets, checkpoint_targets)


def main() -> int:
    """Run, print the table, and return 1 where there was a fault."""
    targets = {target.name: target for module in ALL for target in module.targets()}
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(targets)}; all without any")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all of them together")
    parser.add_argument("--cases", type=int, help="of each kind, instead of minutes")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-faults"), help="inputs of faults")
    parser.add_argument("--json", type=Path, help="write the counts there too")
    given = parser.parse_args()
    if unknown := set(given.names) - targets.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    chosen = [targets[name] for name in given.names or targets]
    given.kept.mkdir(parents=True, exist_ok=True)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in LOADED:
        importlib.import_module(name)
    counts = {target.name: Counter[str]() for target in chosen}
    with tempfile.TemporaryDirectory(prefix="c2t-fuzz-") as scratch:
        for target in chosen:
            if target.name in PREPARE:
                place = Path(scratch) / target.name
                place.mkdir()
                PREPARE[target.name](place)
        if given.cases is not None:
            for target in chosen:
                for number in range(given.first, given.first + given.cases):
                    _one(target, given.seed, number, given.kept, counts)
        else:
            _for_minutes(chosen, given.minutes, given.seed, given.first, given.kept, counts)
    print(_table(counts))
    if given.json is not None:
        document = {"command": " ".join(["python", *sys.argv]), "counts": counts}
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    faults = sum(n for count in counts.values() for name, n in count.items() if name not in GOOD)
    if faults:
        print(f"{faults} faults; their inputs are in {given.kept}")
    return int(faults > 0)


def _for_minutes(
    chosen: list[Target],
    minutes: float,
    seed: int,
    first: int,
    kept: Path,
    counts: dict[str, Counter[str]],
) -> None:
    """In turn, the quick kinds several cases at a time, until the time is over."""
    end = time.monotonic() + 60 * minutes
    turn = 0
    while time.monotonic() < end:
        for target in chosen:
            for number in range(turn * target.pace, (turn + 1) * target.pace):
                _one(target, seed, first + number, kept, counts)
        turn += 1


def _one(
    target: Target, seed: int, number: int, kept: Path, counts: dict[str, Counter[str]]
) -> None:
    result = try_case(target, seed, number, kept)
    counts[target.name][result.outcome] += 1
    if result.outcome not in GOOD:
        said = result.said.strip().splitlines()
        print(f"{target.name} {number}: {result.outcome}: {said[-1] if said else ''}", flush=True)


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
