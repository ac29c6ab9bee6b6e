"""A service of jobs in a process of its own, killed at any moment, and what must hold after it.

What a kill left is looked at with plain means: the data base by SQLite, the journal by its lines.

Run as a script, it is that service: it sends a file, waits for its job, asks for files of results,
makes another job and removes it, and ends.
"""

from __future__ import annotations

import io
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import msgspec
from cli_process import ENVIRONMENT
from serve_jobs import OPTIONS, TIMEOUT
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.output.journal import read_line
from c2t.runtime.output.record import Record
from c2t.runtime.output.text_files import json_line

FILES = {"jsonl": "cells.jsonl", "csv": "cells.csv", "h5ad": "cells.c2t.h5ad"}
KEY = "the job"
BEGUN = b"begun\n"  # said by the service when all is loaded and nothing is written
PIECE = 4096  # bytes of the upload at a time


def serve(folder: Path, cells: Path) -> None:
    """Be the service; it ends by itself when there is nothing left to do."""
    from c2t.runtime.describe.model import open_model
    from c2t.runtime.serve.jobs.jobs import Jobs
    from c2t.runtime.serve.jobs.options import JobOptions
    from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest
    from c2t.runtime.serve.room.room import EngineRoom

    with open_model(BUNDLES["mlp"], OPTIONS) as model:
        room = EngineRoom(model)
        room.warm_up()
        sys.stdout.buffer.write(BEGUN)
        sys.stdout.buffer.flush()
        jobs = Jobs(room, JobOptions(folder=folder))
        jobs.start()
        content = cells.read_bytes()
        with jobs.create_from_upload("cells.h5ad", key=KEY) as upload:
            for start in range(0, len(content), PIECE):
                upload.write(content[start : start + PIECE])
            job = upload.finish()
        after = -1
        while not jobs.get(job.id).has_ended:
            after = jobs.wait(job.id, after=after, timeout=TIMEOUT)[-1].id
        for kind in jobs.get(job.id).formats:
            jobs.results(job.id, kind)
        jobs.columns(job.id)
        counts = {f"ENSG{number:011d}": 1.0 for number in range(1, 40)}
        jobs.create_from_cells(DescribeRequest(cells=[CountedCell(counts=counts)]))
        for other in jobs.recent():
            if other.id != job.id:
                jobs.delete(other.id)
        jobs.close()
        room.close()


@dataclass
class Expected:
    """What `c2t describe` writes for the cells, by format."""

    cells: Path
    files: dict[str, bytes] = field(default_factory=dict)

    @staticmethod
    def of(cells: Path, folder: Path) -> Expected:
        """Describe the cells once, undisturbed."""
        expected = Expected(cells)
        for kind in FILES:
            output = folder / f"expected.{kind}"
            options = DescribeFileOptions(cells=cells, output=output, describing=OPTIONS)
            bundle = open_bundle(BUNDLES["mlp"])
            describe_file(bundle, options, stream=io.BytesIO(), report=lambda said: None)
            expected.files[kind] = output.read_bytes()
        return expected


@dataclass(frozen=True)
class Left:
    """What a kill left of the job.

    Attributes:
        state: Its state; "nothing" before there is a job.
        lines: Cells that it has described.
        files: Files of results.
    """

    state: str
    lines: int
    files: int


def look(folder: Path, expected: Expected) -> Left:
    """Check what is there: whole, right, and nothing said to be finished that is not."""
    if not (folder / "state.sqlite3").exists():
        return Left("nothing", 0, 0)
    with closing(sqlite3.connect(folder / "state.sqlite3")) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        made = base.execute("SELECT 1 FROM sqlite_master WHERE name = 'job'").fetchone()
        rows = base.execute("SELECT document FROM job WHERE key = ?", (KEY,)) if made else ()
        states = [msgspec.json.decode(document)["state"] for (document,) in rows]
    if not states:
        return Left("nothing", 0, 0)
    (state,) = states
    place = folder / "jobs" / state["id"]
    assert (place / "input" / "cells.h5ad").read_bytes() == expected.cells.read_bytes()
    lines = []
    if (place / "journal").exists():
        _, *rest = (place / "journal").read_bytes().split(b"\n")
        lines = [json_line(read_line(line, "a line", Record)) for line in rest[:-1]]
    whole = expected.files["jsonl"].splitlines(keepends=True)
    assert lines == whole[: len(lines)]
    if state["state"] == "done":
        assert len(lines) == len(whole) == state["done"]
        assert (place / "index").stat().st_size == 8 * len(whole)
    found = 0
    for kind, name in FILES.items():
        if (place / "results" / name).exists():
            assert state["state"] == "done"
            assert (place / "results" / name).read_bytes() == expected.files[kind]
            found += 1
    return Left(state["state"], len(lines), found)


def start(folder: Path, cells: Path) -> subprocess.Popen[bytes]:
    """Start the service; returns when it has begun."""
    command = [sys.executable, __file__, str(folder), str(cells)]
    environment = ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    if process.stdout.readline() != BEGUN:
        _, said = process.communicate()
        raise AssertionError(said.decode())
    return process


def run_to_the_end(folder: Path, expected: Expected) -> float:
    """Let the service finish; returns how long that took after it had begun, in seconds."""
    process = start(folder, expected.cells)
    since = monotonic()
    _, said = process.communicate(timeout=120)
    took = monotonic() - since
    assert process.returncode == 0, said.decode()
    left = look(folder, expected)
    assert (left.state, left.files) == ("done", len(FILES))
    assert len(list((folder / "jobs").iterdir())) == 1
    assert not list((folder / "incoming").iterdir())
    return took


def kill_after(folder: Path, expected: Expected, seconds: float) -> Left:
    """Start the service, kill it, and look at what is left."""
    process = start(folder, expected.cells)
    sleep(seconds)
    process.kill()
    _, said = process.communicate()
    assert b"Traceback" not in said, said.decode()
    return look(folder, expected)


def kill_often(
    folder: Path, expected: Expected, *, kills: int, longest: float, seed: int
) -> list[tuple[float, Left]]:
    """Kill the service at random moments; a job that is done makes room for a new one.

    The moments come sooner after a kill that came too late, and later after one that did not: most
    fall into the work, whatever else the machine does.

    Returns:
        Each moment, in seconds after the service had begun, and what was left.
    """
    chance = random.Random(seed)
    found: list[tuple[float, Left]] = []
    round_, before = 0, Left("nothing", 0, 0)
    while len(found) < kills:
        seconds = chance.uniform(0, longest)
        left = kill_after(folder / str(round_), expected, seconds)
        assert left.lines >= before.lines, "a finished cell was lost"
        found.append((round(seconds, 3), left))
        before = left
        longest *= 0.6 if left.files == len(FILES) else 1.15
        if left.state == "done":
            run_to_the_end(folder / str(round_), expected)
            round_, before = round_ + 1, Left("nothing", 0, 0)
    run_to_the_end(folder / str(round_), expected)
    return found


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
