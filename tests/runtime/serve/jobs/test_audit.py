"""The audit trail of jobs: a line before each is made, begun, done and removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

import msgspec
import pytest
from serve_jobs import MakeJobs, finish, lines_of, send
from service_trail import Disk, ServiceTrail, hash_of, service_trail

from c2t.runtime.describe.model import Model
from c2t.runtime.serve.jobs.errors import JobNotFoundError
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.state import JobState
from c2t.runtime.serve.room import audit as audit_module
from c2t.runtime.serve.room.asking import let_in
from c2t.runtime.serve.room.messages import CellResult
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import AuditError, C2TError


@pytest.fixture
def trail(tmp_path: Path):
    with service_trail(tmp_path / "audit") as trail:
        yield trail


@pytest.fixture
def room(model: Model, trail: ServiceTrail):
    room = EngineRoom(model, audit=trail.audit)
    yield room
    room.close()


def said(trail: ServiceTrail) -> list[tuple[str, str]]:
    return [(line["action"], line["details"].get("result", "")) for line in trail.lines()]


def test_the_life_of_a_job(jobs: Jobs, trail: ServiceTrail, cells: Path) -> None:
    def live() -> tuple[JobState, bytes]:
        let_in("a door", "somebody")
        job = finish(jobs, send(jobs, cells))
        lines = lines_of(jobs, job)
        jobs.delete(job.id)
        return job, lines

    job, lines = copy_context().run(live)
    results = [msgspec.json.decode(line, type=CellResult) for line in lines.splitlines()]
    assert said(trail) == [
        ("request", "made"),
        ("start", "begun"),
        ("stop", "done"),
        ("remove", "removed; it was done"),
    ]
    made, begun, done, removed = trail.lines()
    digest = hashlib.sha256(cells.read_bytes()).hexdigest()
    assert made["details"]["input_sha256"] == begun["details"]["input_sha256"] == digest
    assert all(line["details"]["settings"]["job"] == job.id for line in trail.lines())
    assert made["who"]["asked_by"] == removed["who"]["asked_by"] == "a door, somebody"
    assert "asked_by" not in begun["who"]  # the service does it of itself
    assert done["details"]["cells"] == len(results)
    assert done["details"]["failed"] == sum(result.error is not None for result in results)
    assert done["details"]["text_sha256"] == hash_of(results)


def test_a_file_that_lies_here_is_hashed_when_it_is_read(
    make_jobs: MakeJobs, trail: ServiceTrail, cells: Path
) -> None:
    jobs = make_jobs(allowed=(cells.parent,))
    finish(jobs, jobs.create_from_path(str(cells)))
    (begun,) = trail.lines("start")
    assert begun["details"]["input_sha256"] == hashlib.sha256(cells.read_bytes()).hexdigest()


def test_a_cancelled_job_says_so_and_goes_on(
    make_jobs: MakeJobs, trail: ServiceTrail, cells: Path
) -> None:
    jobs = make_jobs(start=False)
    job = send(jobs, cells)
    jobs.cancel(job.id)
    trail.wait_for("stop")
    assert said(trail)[1:] == [("request", "is to be cancelled"), ("stop", "cancelled")]
    jobs.resume(job.id)
    jobs.start()
    finish(jobs, job)
    assert said(trail)[3:] == [("request", "is to go on"), ("start", "begun"), ("stop", "done")]


def test_what_is_refused_is_said(jobs: Jobs, trail: ServiceTrail, tmp_path: Path) -> None:
    ways: list[Callable[[], object]] = [
        lambda: jobs.create_from_path(str(tmp_path / "nowhere.h5ad")),
        lambda: jobs.create_from_upload("../x.h5ad"),
    ]
    for way in ways:
        with pytest.raises(C2TError):
            way()
    with jobs.create_from_upload("text.h5ad") as upload:
        upload.write(b"no cells")
        with pytest.raises(C2TError):
            upload.finish()
    assert len(trail.wait_for("refuse", 3)) == 3
    assert not trail.lines("request")


def test_no_job_is_made_or_removed_without_its_line(
    jobs: Jobs, trail: ServiceTrail, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "RETRY_SECONDS", 0.05)
    disk = Disk(monkeypatch)
    kept = finish(jobs, send(jobs, cells))
    disk.full = True
    with pytest.raises(AuditError):
        jobs.delete(kept.id)
    with pytest.raises(AuditError):
        send(jobs, cells)
    assert [job.id for job in jobs.recent()] == [kept.id]
    assert lines_of(jobs, kept)
    disk.full = False
    trail.wait_for("recover")
    jobs.delete(kept.id)
    with pytest.raises(JobNotFoundError):
        jobs.get(kept.id)


def test_a_job_does_not_begin_without_its_line(
    make_jobs: MakeJobs, trail: ServiceTrail, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    jobs = make_jobs(start=False)
    job = send(jobs, cells)
    disk.full = True
    jobs.start()
    failed = finish(jobs, job)
    assert failed.state == "failed"
    assert "audit trail" in str(failed.problem)
    assert failed.done == 0
    disk.full = False
    jobs.resume(job.id)
    assert finish(jobs, job).state == "done"
