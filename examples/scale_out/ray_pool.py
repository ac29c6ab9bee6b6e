"""Describe a file with a pool of Ray actors, in the order of its cells.

python make_job.py BUNDLE CELLS.h5ad -o job.json
python ray_pool.py job.json --actors 2 > descriptions.jsonl

An actor opens the files and the engines once. One that dies is started again, and its range is
given out again (`max_restarts`, `max_task_retries`). Not Ray Data: it does not retry what a
function raises, and it decides itself how much waits for its turn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from c2t.runtime.output.parts.plan import ranges_left
from c2t.runtime.output.text_files import json_line
from c2t.runtime.scale_out.job import Job
from c2t.runtime.scale_out.window import AHEAD, in_order, range_cells
from c2t.runtime.scale_out.work import Work


class Describer:
    """What becomes an actor: a job that is opened in a process of its own."""

    def __init__(self, job: bytes) -> None:
        self._work = Work(Job.decoded(job))

    def size(self) -> tuple[int, int]:
        """Cells of the job, and how many this process takes at once."""
        return self._work.cells, self._work.ready.cells_at_once

    def describe(self, start: int, stop: int) -> bytes:
        """Lines of JSON about the cells [start, stop)."""
        return b"".join(map(json_line, self._work.records(start, stop)))


def describe_with(ray: Any, job: bytes, actors: int, *, gpus: float = 0) -> Iterator[bytes]:
    """Describe all cells of a job with actors.

    Args:
        ray: The module, connected to a cluster.
        job: As `make_job.py` wrote it.
        actors: How many.
        gpus: Of each actor.
    """
    kind = ray.remote(max_restarts=-1, max_task_retries=-1, num_gpus=gpus)(Describer)
    pool = [kind.remote(job) for _ in range(actors)]
    cells, at_once = ray.get([actor.size.remote() for actor in pool])[0]
    given = 0

    def submit(start: int, stop: int) -> Any:
        nonlocal given
        given += 1
        return pool[given % actors].describe.remote(start, stop)

    ranges = ranges_left(0, cells, range_cells(cells, actors, at_once))
    yield from in_order(ranges, submit, ray.get, ahead=lambda: AHEAD * actors)


def main() -> None:
    """Write lines of JSON to standard output."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0, help="of each actor")
    parser.add_argument("--address", help="of a cluster; else one of this machine is started")
    options = parser.parse_args()
    ray.init(address=options.address, include_dashboard=False)
    for lines in describe_with(ray, options.job.read_bytes(), options.actors, gpus=options.gpus):
        sys.stdout.buffer.write(lines)


if __name__ == "__main__":
    main()
