"""How long `c2t --help` and its like take, in one or several checkouts, interleaved.

    python benchmarks/command_line.py CHECKOUT [CHECKOUT ...] [--rounds 20] [-o RESULT.json]

Each command is a process of its own, with the packages of the Python that runs this. The first
checkout is what the others are compared with: medians of ratios, round by round, of processor time
(user and system) and of wall time. Wall time on a busy machine says little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import typer

COMMANDS = ("--version", "--help", "describe --help", "doctor --help")
PACKAGES = str(Path(typer.__file__).parents[1])
# Without `site`: its hooks would import the checkout that this Python has installed.
START = (
    "import sys; sys.path[:0] = sys.argv[1:3]; sys.argv = ['c2t', *sys.argv[3:]];"
    " from c2t.cli import main; main()"
)


def run(checkout: Path, command: str) -> tuple[float, float]:
    """Processor and wall seconds of one run."""
    words = [sys.executable, "-S", "-P", "-c", START]
    words += [str(checkout / ".pkg"), PACKAGES, *command.split()]
    start = time.perf_counter()
    process = os.fork()
    if not process:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.execv(words[0], words)
    _, status, used = os.wait4(process, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"c2t {command} failed in {checkout}")
    return used.ru_utime + used.ru_stime, wall


def main() -> None:
    """Measure, and print or write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("checkouts", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    checkouts = [path.resolve() for path in options.checkouts]
    results: dict[str, Any] = {}
    for command in COMMANDS:
        for checkout in checkouts:
            run(checkout, command)  # writes bytecode
        rounds = [[run(path, command) for path in checkouts] for _ in range(options.rounds)]
        results[command] = [
            {
                "checkout": path.name,
                **{
                    f"{kind} ms": round(1e3 * statistics.median(r[n][at] for r in rounds), 1)
                    for at, kind in enumerate(("processor", "wall"))
                },
                **{
                    f"{kind} ratio": round(
                        statistics.median(r[n][at] / r[0][at] for r in rounds), 3
                    )
                    for at, kind in enumerate(("processor", "wall"))
                },
            }
            for n, path in enumerate(checkouts)
        ]
    document = {
        "command": f"python benchmarks/command_line.py --rounds {options.rounds}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "load": os.getloadavg()[0],
        "commands": results,
    }
    text = json.dumps(document, indent=2)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
