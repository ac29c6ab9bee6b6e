"""Jobs that are cancelled, removed, interrupted, gone on with, and kept or not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_process import make_cells
from serve_jobs import CELLS, OPTIONS, MakeJobs, finish, lines_of, send, until_some_are_done
from tiny_data import BUNDLES

from c2t.runtime.describe.description import Description
from c2t.runtime.describe.model import open_model
from c2t.runtime.serve.jobs.errors import JobNotFoundError, StorageError
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError

Described = Callable[[str], Path]
MANY = 2000  # cells: more than can be described before a test stops them
SOME = 300


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("many") / "many.h5ad", MANY)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("some") / "some.h5ad", SOME)


def test_a_cancelled_job_ends_and_keeps_what_it_has(jobs: Jobs, many: Path) -> None:
    job = send(jobs, many)
    until_some_are_done(jobs, job)
    jobs.cancel(job.id)
    ended = finish(jobs, job)
    assert ended.state == "cancelled"
    assert 0 < ended.done < MANY
    lines = lines_of(jobs, job).splitlines()
    assert len(lines) == ended.done
    assert jobs.results(job.id, "jsonl").read_bytes().splitlines() == lines


def test_a_waiting_job_is_cancelled_at_once(make_jobs: MakeJobs, cells: Path) -> None:
    jobs = make_jobs(start=False)
    job = send(jobs, cells)
    assert jobs.cancel(job.id).state == "cancelled"
    assert [event.event for event in jobs.events(job.id)] == ["cancelled"]


@pytest.mark.parametrize("when", ["waiting", "running", "done"])
def test_nothing_is_left_of_a_removed_job(
    make_jobs: MakeJobs, cells: Path, many: Path, when: str
) -> None:
    jobs = make_jobs(start=when != "waiting")
    job = send(jobs, many if when == "running" else cells)
    if when == "running":
        until_some_are_done(jobs, job)
    if when == "done":
        finish(jobs, job)
    jobs.delete(job.id)
    with pytest.raises(JobNotFoundError):
        jobs.get(job.id)
    with pytest.raises(JobNotFoundError):
        jobs.delete(job.id)
    jobs.close()
    assert not list((jobs.options.folder / "jobs").iterdir())
    assert make_jobs(start=False).recent() == []


def test_whoever_waits_hears_that_a_job_was_removed(jobs: Jobs, many: Path) -> None:
    job = send(jobs, many)
    until_some_are_done(jobs, job)
    heard = threading.Event()
    with jobs.watch(job.id, heard.set):
        heard.clear()
        jobs.delete(job.id)
        assert heard.wait(10)
    with pytest.raises(JobNotFoundError):
        jobs.wait(job.id, after=0)


def test_an_interrupted_job_goes_on_where_it_was(make_jobs: MakeJobs, some: Path) -> None:
    jobs = make_jobs()
    job = send(jobs, some)
    waiting = send(jobs, some)
    until_some_are_done(jobs, job, 20)
    jobs.close()
    kept = lines_of(jobs, job)
    assert 20 <= kept.count(b"\n") < SOME
    again = make_jobs(start=False)
    state = again.get(job.id)
    assert (state.state, state.done) == ("running", kept.count(b"\n"))
    assert lines_of(again, job) == kept
    assert again.get(waiting.id).state == "queued"
    again.delete(waiting.id)
    again.start()
    assert finish(again, job).state == "done"
    whole = lines_of(again, job)
    assert whole.startswith(kept)
    again.delete(job.id)
    anew = finish(again, send(again, some))
    assert lines_of(again, anew) == whole


def test_a_broken_last_line_is_described_again(
    make_jobs: MakeJobs, cells: Path, described: Described
) -> None:
    jobs = make_jobs(start=False)
    job = send(jobs, cells)
    jobs.start()
    until_some_are_done(jobs, job, 10)
    jobs.close()
    folder = jobs.options.folder / "jobs" / job.id
    journal = folder / "journal"
    journal.write_bytes(journal.read_bytes()[:-3])
    (folder / "index").write_bytes((folder / "index").read_bytes() + b"\1\2\3")
    again = make_jobs()
    assert finish(again, job).state == "done"
    assert lines_of(again, job) == described(".jsonl").read_bytes()


def test_a_job_does_not_go_on_with_another_bundle(make_jobs: MakeJobs, many: Path) -> None:
    jobs = make_jobs()
    job = send(jobs, many)
    until_some_are_done(jobs, job)
    jobs.close()
    with open_model(BUNDLES["perceiver"], OPTIONS) as model:
        room = EngineRoom(model)
        other = make_jobs(room=room)
        failed = finish(other, job)
        other.close()
        room.close()
    assert failed.state == "failed"
    assert failed.problem is not None
    assert "the job was made for bundle" in failed.problem
    assert failed.done  # what it had can still be had


def test_a_job_does_not_go_on_with_other_cells(make_jobs: MakeJobs, tmp_path: Path) -> None:
    path = make_cells(tmp_path / "many.h5ad", MANY)
    jobs = make_jobs(allowed=(tmp_path,))
    job = jobs.create_from_path(str(path))
    until_some_are_done(jobs, job)
    jobs.close()
    make_cells(path, MANY, seed=1)
    again = make_jobs(allowed=(tmp_path,))
    failed = finish(again, job)
    assert failed.state == "failed"
    assert failed.problem is not None
    assert "differs in: file of cells (many.h5ad, which has changed since)" in failed.problem
    assert failed.hint is not None
    assert "--restart" not in failed.hint
    assert again.resume(job.id).event > failed.event
    assert finish(again, job).problem == failed.problem


def test_one_service_at_a_time_uses_a_folder(make_jobs: MakeJobs) -> None:
    jobs = make_jobs()
    with pytest.raises(StorageError, match="another service uses"):
        make_jobs()
    jobs.close()
    make_jobs()


def test_what_a_kill_left_is_removed(make_jobs: MakeJobs, cells: Path) -> None:
    jobs = make_jobs(start=False)
    whole, half = send(jobs, cells), send(jobs, cells)
    upload = jobs.create_from_upload("cells.h5ad")
    upload.write(b"\x89HDF")
    jobs.close()
    shutil.copytree(jobs.options.folder / "jobs" / whole.id, jobs.options.folder / "jobs" / "ab")
    shutil.rmtree(jobs.options.folder / "jobs" / half.id)
    again = make_jobs(start=False)
    assert [job.id for job in again.recent()] == [whole.id]
    assert [path.name for path in (again.options.folder / "jobs").iterdir()] == [whole.id]
    assert not list((again.options.folder / "incoming").iterdir())
    upload.abort()


@pytest.mark.parametrize("limit", [{"keep_jobs": 2}, {"keep_bytes": 1}, {"keep_seconds": 0.0}])
def test_old_jobs_are_removed(make_jobs: MakeJobs, cells: Path, limit: dict[str, float]) -> None:
    jobs = make_jobs()
    made = [finish(jobs, send(jobs, cells)) for _ in range(3)]
    jobs.close()
    again = make_jobs(**limit)
    left = [job.id for job in again.recent()]
    assert left == ([made[2].id, made[1].id] if "keep_jobs" in limit else [])
    assert sorted(path.name for path in (again.options.folder / "jobs").iterdir()) == sorted(left)


def test_events_tell_all_cells_once(jobs: Jobs, cells: Path) -> None:
    job = send(jobs, cells)
    after, seen, names = -1, 0, []
    while True:
        told = jobs.wait(job.id, after=after, timeout=20)
        if not told:
            break
        for event in told:
            assert event.id > after
            after = event.id
            names.append(event.event)
            if event.event == "cells":
                assert event.first == seen
                assert event.count is not None
                seen += event.count
    assert seen == CELLS
    assert names.count("done") == 1
    assert names[-1] == "done"
    assert jobs.events(job.id, after=after) == []


def test_events_go_on_after_a_restart(make_jobs: MakeJobs, many: Path) -> None:
    jobs = make_jobs()
    job = send(jobs, many)
    until_some_are_done(jobs, job, 5)
    cells = [event for event in jobs.events(job.id) if event.event == "cells"]
    assert cells[0].count is not None
    jobs.close()
    again = make_jobs()
    told = again.wait(job.id, after=cells[0].id, timeout=20)
    while not any(event.event == "cells" for event in told):
        told = again.wait(job.id, after=max(cells[0].id, told[-1].id), timeout=20)
    assert told[0].first == cells[0].count
    again.delete(job.id)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: no file may grow beyond this."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("then", ["resumed", "restarted"])
def test_a_full_disk_ends_a_job_and_costs_nothing_that_was_done(
    make_jobs: MakeJobs, some: Path, then: str
) -> None:
    jobs = make_jobs()
    undisturbed = finish(jobs, send(jobs, some))
    whole = lines_of(jobs, undisturbed)
    size = (jobs.options.folder / "jobs" / undisturbed.id / "journal").stat().st_size
    jobs.close()
    jobs = make_jobs(start=False)
    job = send(jobs, some)
    with files_of_at_most(size // 2):
        jobs.start()
        failed = finish(jobs, job)
    assert failed.state == "failed"
    assert failed.problem is not None
    assert "File too large" in failed.problem
    assert failed.hint is not None
    assert "make room" in failed.hint
    assert 0 < failed.done < SOME
    assert lines_of(jobs, job) == b"".join(whole.splitlines(keepends=True)[: failed.done])
    if then == "restarted":
        jobs.close()
        jobs = make_jobs()  # the failure may not have been written either: then it goes on at once
    if jobs.get(job.id).has_ended:
        last = jobs.events(job.id)[-1].id
        assert jobs.resume(job.id).event > last
    assert finish(jobs, job).state == "done"
    assert lines_of(jobs, job) == whole


def test_an_upload_to_a_full_disk_leaves_nothing(jobs: Jobs, some: Path) -> None:
    with files_of_at_most(some.stat().st_size - 1), pytest.raises(StorageError) as caught:
        send(jobs, some)
    assert caught.value.hint
    assert not list((jobs.options.folder / "incoming").iterdir())
    assert jobs.recent() == []
    assert finish(jobs, send(jobs, some)).state == "done"


def test_files_on_a_full_disk_are_not_there_or_whole(jobs: Jobs, some: Path) -> None:
    job = finish(jobs, send(jobs, some))
    with files_of_at_most(4096):
        for kind in ("jsonl", "csv", "h5ad"):
            with pytest.raises(C2TError) as caught:
                jobs.results(job.id, kind)
            assert caught.value.hint
        with pytest.raises(StorageError):
            jobs.columns(job.id)
    folder = jobs.options.folder / "jobs" / job.id
    assert not list((folder / "results").iterdir())
    assert jobs.results(job.id, "jsonl").read_bytes() == lines_of(jobs, job)
    assert jobs.columns(job.id).exists()


def test_a_cancelled_job_goes_on_when_it_is_resumed(jobs: Jobs, some: Path) -> None:
    job = send(jobs, some)
    until_some_are_done(jobs, job, 10)
    jobs.cancel(job.id)
    cancelled = finish(jobs, job)
    assert cancelled.state == "cancelled"
    jobs.results(job.id, "jsonl")
    jobs.columns(job.id)
    after = jobs.events(job.id)[-1].id
    jobs.resume(job.id)
    seen = cancelled.done
    while told := jobs.wait(job.id, after=after, timeout=20):
        for event in told:
            assert event.id > after
            after = event.id
            if event.event == "cells":
                assert (event.first, event.count) == (seen, (event.count or 0))
                seen += event.count or 0
    assert seen == SOME
    assert jobs.get(job.id).state == "done"
    assert jobs.results(job.id, "jsonl").read_bytes().count(b"\n") == SOME
    assert jobs.resume(job.id).state == "done"


class BrokenRoom(EngineRoom):
    """Its engine fails for every cell, as one does that runs out of memory."""

    def describe_job(self, *arguments: Any, **named: Any) -> Iterator[Description]:
        for found in super().describe_job(*arguments, **named):
            yield replace(found, text=None, error="out of memory", engine_failed=True)


def test_an_engine_that_fails_for_all_cells_leaves_them_to_be_described(
    make_jobs: MakeJobs, cells: Path, described: Described, room: EngineRoom
) -> None:
    broken = make_jobs(room=BrokenRoom(room.model))
    failed = finish(broken, send(broken, cells))
    assert (failed.state, failed.done) == ("failed", 0)
    assert failed.problem == "no cell could be described: out of memory"
    broken.close()
    jobs = make_jobs()
    jobs.resume(failed.id)
    assert finish(jobs, failed).state == "done"
    assert lines_of(jobs, failed) == described(".jsonl").read_bytes()
