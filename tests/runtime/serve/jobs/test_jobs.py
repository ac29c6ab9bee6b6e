"""Jobs from cells to results: those of `c2t describe`, whole, in slices, in every format."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
from serve_cells import counted_cells, counts
from serve_cells import described as described_by
from serve_jobs import CELLS, MakeJobs, finish, lines_of, send

from c2t.runtime.describe.model import Model
from c2t.runtime.serve.jobs.errors import (
    JobConflictError,
    JobError,
    JobNotReadyError,
    JobsFullError,
)
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.state import Reading
from c2t.runtime.serve.room.messages import DescribeRequest, Settings
from c2t.runtime.system.errors import C2TError

Described = Callable[[str], Path]


def test_an_upload_becomes_the_lines_of_describe(
    jobs: Jobs, cells: Path, described: Described
) -> None:
    job = send(jobs, cells)
    assert (job.state, job.source, job.name) == ("queued", "upload", "cells.h5ad")
    done = finish(jobs, job)
    assert (done.state, done.problem) == ("done", None)
    assert (done.cells, done.done, done.failed_cells) == (CELLS, CELLS, 2)
    assert None not in (done.started, done.ended, done.expires)
    assert any("counts" in note for note in done.notes)
    assert lines_of(jobs, job) == described(".jsonl").read_bytes()
    assert jobs.results(job.id, "jsonl").read_bytes() == described(".jsonl").read_bytes()


@pytest.mark.parametrize(("first", "count"), [(0, 1), (7, 5), (58, 100), (60, 1), (3, 0), (-4, 2)])
def test_a_slice_is_a_part_of_the_lines(
    jobs: Jobs, cells: Path, described: Described, first: int, count: int
) -> None:
    job = finish(jobs, send(jobs, cells))
    whole = described(".jsonl").read_bytes().splitlines(keepends=True)
    begin = max(first, 0)
    found = jobs.lines(job.id, first=first, count=count)
    assert list(found.lines) == whole[begin : begin + count]
    assert (found.first, found.count) == (begin, len(whole[begin : begin + count]))


def test_the_file_of_a_path_becomes_the_same_and_is_not_copied(
    make_jobs: MakeJobs, cells: Path, described: Described
) -> None:
    jobs = make_jobs(allowed=(cells.parent,))
    job = finish(jobs, jobs.create_from_path(str(cells)))
    assert (job.state, job.source) == ("done", "path")
    assert lines_of(jobs, job) == described(".jsonl").read_bytes()
    folder = jobs.options.folder / "jobs" / job.id
    assert not list(folder.rglob("*.h5ad"))
    jobs.delete(job.id)
    assert cells.exists()


@pytest.mark.parametrize("kind", ["csv", "parquet", "h5ad"])
def test_files_of_results_are_those_of_describe(
    make_jobs: MakeJobs, cells: Path, described: Described, kind: str
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    jobs = make_jobs(allowed=(cells.parent,))
    for job in (send(jobs, cells), jobs.create_from_path(str(cells))):
        job = finish(jobs, job)
        assert kind in job.formats
        found = jobs.results(job.id, kind)
        assert found.name == ("cells.c2t.h5ad" if kind == "h5ad" else f"cells.{kind}")
        assert found.read_bytes() == described(f".{kind}").read_bytes()
        assert jobs.results(job.id, kind) == found


def test_cells_of_a_request_become_the_same_as_described(jobs: Jobs, model: Model) -> None:
    values = counts(9)
    request = DescribeRequest(cells=counted_cells(values))
    job = finish(jobs, jobs.create_from_cells(request))
    assert (job.state, job.source, job.cells) == ("done", "cells", 9)
    texts = [found.text for found in described_by(model, values)]
    found = [msgspec.json.decode(line)["text"] for line in jobs.lines(job.id).lines]
    assert found == texts
    with pytest.raises(JobError, match="no results as h5ad"):
        jobs.results(job.id, "h5ad")


def test_settings_and_reading_are_kept(jobs: Jobs, cells: Path, model: Model) -> None:
    job = send(
        jobs, cells, settings=Settings(max_new_tokens=3), reading=Reading(cells=("cell7", "cell9"))
    )
    job = finish(jobs, job)
    assert job.cells == 2
    with h5py.File(jobs.results(job.id, "h5ad")) as file:
        written = np.flatnonzero(file["obs/c2t_description"].asstr()[:] != "")
        assert written.tolist() == [7, 9]
        assert file["uns/c2t/generation/max_new_tokens"][()] == 3


def test_cells_that_cannot_be_read_fail_with_two_lines(jobs: Jobs, cells: Path) -> None:
    job = finish(jobs, send(jobs, cells, reading=Reading(layer="nothing")))
    assert job.state == "failed"
    assert job.problem is not None
    assert job.hint is not None
    assert "nothing" in job.problem
    assert str(jobs.options.folder) not in job.problem + job.hint
    assert lines_of(jobs, job) == b""
    with pytest.raises(JobError, match="no results"):
        jobs.results(job.id, "csv")
    with pytest.raises(JobNotReadyError):
        jobs.columns(job.id)


def test_settings_that_cannot_be_are_refused_at_once(jobs: Jobs, cells: Path) -> None:
    with pytest.raises(C2TError, match="new tokens exceed"):
        jobs.create_from_upload("cells.h5ad", settings=Settings(max_new_tokens=1 << 19))
    assert jobs.recent() == []


def test_the_same_key_makes_one_job(make_jobs: MakeJobs, cells: Path) -> None:
    jobs = make_jobs(start=False, allowed=(cells.parent,))
    first = send(jobs, cells, key="k")
    assert send(jobs, cells, key="k").id == first.id
    assert send(jobs, cells, key="other").id != first.id
    assert send(jobs, cells).id != first.id
    with pytest.raises(JobConflictError, match=first.id):
        send(jobs, cells, key="k", settings=Settings(max_new_tokens=2))
    with pytest.raises(JobConflictError):
        jobs.create_from_path(str(cells), key="k")
    assert len(jobs.recent()) == 3
    jobs.close()
    again = make_jobs(start=False, allowed=(cells.parent,))
    assert send(again, cells, key="k").id == first.id
    assert len(list((again.options.folder / "jobs").iterdir())) == 3
    assert not list((again.options.folder / "incoming").iterdir())


def test_too_many_waiting_jobs_are_refused(make_jobs: MakeJobs, cells: Path) -> None:
    jobs = make_jobs(start=False, waiting=2)
    send(jobs, cells)
    job = send(jobs, cells, key="k")
    assert send(jobs, cells, key="k") == job  # it needs no place
    with pytest.raises(JobsFullError) as caught:
        send(jobs, cells)
    assert caught.value.retry_after >= 1
    assert [found.id for found in jobs.recent(first=0, count=1)] == [job.id]


def test_the_same_key_at_the_same_time_makes_one_job(make_jobs: MakeJobs, cells: Path) -> None:
    jobs = make_jobs(start=False)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: send(jobs, cells, key="k").id, range(8)))
    assert len(set(made)) == 1
    assert [job.id for job in jobs.recent()] == made[:1]


def test_jobs_that_run_at_the_same_time_are_not_mixed(
    make_jobs: MakeJobs, cells: Path, described: Described
) -> None:
    jobs = make_jobs(running=3)
    short = Settings(max_new_tokens=3)
    made = [send(jobs, cells), send(jobs, cells, settings=short), send(jobs, cells)]
    assert [finish(jobs, job).state for job in made] == ["done"] * 3
    assert lines_of(jobs, made[0]) == described(".jsonl").read_bytes()
    assert lines_of(jobs, made[2]) == described(".jsonl").read_bytes()
    assert lines_of(jobs, made[1]) != lines_of(jobs, made[0])


def test_many_may_read_while_a_job_runs(
    make_jobs: MakeJobs, cells: Path, described: Described
) -> None:
    jobs = make_jobs(start=False)
    job = send(jobs, cells)
    whole = described(".jsonl").read_bytes()

    def read() -> None:
        while not jobs.get(job.id).has_ended:
            found = lines_of(jobs, job)
            assert whole.startswith(found)
            assert not found or found.endswith(b"\n")

    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(read) for _ in range(3)]
        jobs.start()
        for one in reading:
            one.result(timeout=60)
    assert lines_of(jobs, job) == whole
