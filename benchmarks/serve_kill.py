"""Kill a service of jobs with SIGKILL at random moments, and check what is left each time.

python benchmarks/serve_kill.py -o benchmarks/results/serve_kill.json

After each kill: no finished cell is lost, no file of results is there that is not complete, and no
job is called done that is not. Afterwards the service goes on, and its results are those of
`c2t describe`, byte for byte.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from c2t.runtime.bench.record import finish, record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from cli_process import make_cells
from serve_kill import Expected, kill_often, run_to_the_end

SEED = 20261129


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def main() -> None:
    """Kill, check, count."""
    options = parse_options()
    document = record("serve_kill", threads=1, seed=SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = Expected.of(make_cells(folder / "cells.h5ad", options.cells), folder)
        longest = run_to_the_end(folder / "undisturbed", expected)
        found = kill_often(folder, expected, kills=options.kills, longest=longest, seed=SEED)
    during = Counter(
        f"done, {left.files} of 3 files written" if left.state == "done" else left.state
        for _, left in found
    )
    document |= {
        "cells": options.cells,
        "seconds_undisturbed": round(longest, 3),
        "kills": len(found),
        "state_after_the_kill": dict(during),
        "kills_with_a_part_of_the_cells": sum(0 < left.lines < options.cells for _, left in found),
        "faults": 0,  # the first fault ends the run with its traceback, and there is no record
    }
    finish(document, [], options.output)


if __name__ == "__main__":
    main()
