"""Jobs over HTTP: files in, results out, watched, gone back to, and removed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import anndata
import httpx
import msgspec
import numpy as np
import pytest
from decoder_gate import Gate
from http_service import JSON, Service, problem, read_all, serving, sse, wait_until
from serve_cells import anndata_of, counted_cells, counts

import c2t
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.jobs.state import JobState
from c2t.runtime.serve.room.messages import DescribeRequest
from c2t.runtime.serve.room.room import EngineRoom

FILE = {"Content-Type": "application/octet-stream"}
CELLS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    path = folder / "cells.h5ad"
    anndata_of(counts(CELLS)).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def expected(model: c2t.Model, file: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What `c2t describe` writes of the file."""
    output = tmp_path_factory.mktemp("described") / "cells.jsonl"
    options = DescribeFileOptions(cells=file, output=output, describing=model.options)
    describe_file(open_bundle(model.bundle.path), options, stream=io.BytesIO(), report=str)
    return output.read_bytes()


@pytest.fixture(scope="module")
def jobs(
    room: EngineRoom, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Jobs]:
    state = tmp_path_factory.mktemp("state") / "jobs"
    jobs = Jobs(room, JobOptions(folder=state, allowed=(folder,), upload_bytes=5_000_000))
    jobs.start()
    yield jobs
    jobs.close()


@pytest.fixture(scope="module")
def service(room: EngineRoom, metrics: Metrics, jobs: Jobs) -> Iterator[Service]:
    with serving(room, HttpOptions(stalled_seconds=2.0), jobs=jobs, metrics=metrics) as service:
        yield service


def upload(service: Service, content: object, *, query: str = "name=cells.h5ad", **headers: str):
    sent = {**FILE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return service.client.post(f"/v1/jobs?{query}", content=content, headers=sent)


def job_of(answer: httpx.Response) -> JobState:
    assert answer.status_code == 202, answer.text
    job = msgspec.json.decode(answer.content, type=JobState)
    assert answer.headers["Location"] == f"/v1/jobs/{job.id}"
    return job


def ended(service: Service, job: JobState) -> JobState:
    def state() -> JobState:
        answer = service.client.get(f"/v1/jobs/{job.id}")
        return msgspec.json.decode(answer.content, type=JobState)

    wait_until(lambda: state().has_ended)
    return state()


@pytest.fixture(scope="module")
def job(service: Service, file: Path) -> JobState:
    """A job that is done."""
    return ended(service, job_of(upload(service, file.read_bytes())))


def test_a_file_becomes_what_describe_writes(
    service: Service, job: JobState, expected: bytes
) -> None:
    assert (job.state, job.cells, job.done, job.name) == ("done", CELLS, CELLS, "cells.h5ad")
    answer = service.client.get(f"/v1/jobs/{job.id}/results")
    assert answer.content == expected
    assert answer.headers["C2T-Cells"] == str(CELLS)
    assert 'filename="cells.jsonl"' in answer.headers["Content-Disposition"]


def test_a_file_in_many_pieces_without_a_length(
    service: Service, file: Path, expected: bytes
) -> None:
    content = file.read_bytes()
    pieces = (content[start : start + 1000] for start in range(0, len(content), 1000))
    job = ended(service, job_of(upload(service, pieces)))
    assert service.client.get(f"/v1/jobs/{job.id}/results").content == expected


def test_a_file_that_lies_there(service: Service, file: Path, expected: bytes) -> None:
    answer = service.client.post("/v1/jobs", json={"path": str(file), "reading": {"limit": 3}})
    job = ended(service, job_of(answer))
    assert job.source == "path"
    lines = service.client.get(f"/v1/jobs/{job.id}/results").content
    assert lines.splitlines() == expected.splitlines()[:3]


def test_cells_in_the_request(service: Service, expected: bytes) -> None:
    request = DescribeRequest(cells=counted_cells(counts(CELLS)))
    content = msgspec.json.encode(request)
    job = ended(service, job_of(service.client.post("/v1/jobs", content=content, headers=JSON)))
    assert service.client.get(f"/v1/jobs/{job.id}/results").content == expected


def test_parameters_are_settings_and_reading(service: Service, file: Path) -> None:
    query = "name=a%20b.h5ad&max_new_tokens=4&drafts=false&counts_are=counts&limit=5"
    query += "&filter_pass=false&cells=cell1&cells=cell7&min_coverage=0.05"
    job = ended(service, job_of(upload(service, file.read_bytes(), query=query)))
    assert job.name == "a b.h5ad"
    assert (job.settings.max_new_tokens, job.settings.drafts) == (4, False)
    assert (job.settings.counts_are, job.settings.min_coverage) == ("counts", 0.05)
    lines = service.client.get(f"/v1/jobs/{job.id}/results").text.splitlines()
    assert [msgspec.json.decode(line)["cell"] for line in lines] == ["cell1", "cell7"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "name"),
        ("name=", "$.name"),
        ("name=a.h5ad&limit=0", "$.limit"),
        ("name=a.h5ad&limit=many", "$.limit"),
        ("name=a.h5ad&drafts=perhaps", "$.drafts"),
        ("name=a.h5ad&beams=2", "beams"),
        ("name=a.h5ad&name=b.h5ad", "twice"),
        ("name=a.h5ad&min_coverage=nan", "min_coverage"),
        ("name=..%2Fa.h5ad", "a.h5ad"),
        ("name=a.h5ad&max_new_tokens=1000000", "positions"),
    ],
)
def test_bad_parameters(service: Service, query: str, said: str) -> None:
    answer = upload(service, b"x", query=query)
    assert answer.status_code == 422
    assert said in problem(answer)["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 422),
        (b"{", 400),
        (b'{"path": 3}', 422),
        (b'{"path": "/a", "cells": []}', 422),
        (b'{"path": "/etc/passwd"}', 403),
        (b'{"path": "cells.h5ad"}', 403),
        (b'{"path": "/a", "settings": {"max_new_tokens": 1000000}}', 422),
        (b'{"cells": []}', 422),
        (b'{"cells": [{"counts": {"A": 1, "A": 2}}]}', 422),
        (b'{"path":' + b"[" * 100_000, 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_json(service: Service, body: bytes, status: int) -> None:
    answer = service.client.post("/v1/jobs", content=body, headers=JSON)
    assert answer.status_code == status
    problem(answer)


def test_what_is_no_file_of_cells(service: Service) -> None:
    for content in (b"", b"x" * 5000, b"\x89HDF\r\n\x1a\n" + b"\0" * 3000):
        answer = upload(service, content)
        if answer.status_code == 202:  # what only a reader finds out
            assert ended(service, job_of(answer)).state == "failed"
        else:
            assert answer.status_code == 422
            problem(answer)


def test_an_upload_that_is_too_large(service: Service) -> None:
    assert upload(service, b"x" * 5_000_001).status_code == 413
    answer = upload(service, (b"x" * 100_000 for _ in range(51)))
    assert answer.status_code == 413
    problem(answer)


def test_an_upload_that_ends_early_or_stalls_leaves_nothing(
    service: Service, jobs: Jobs, job: JobState
) -> None:
    def kept() -> list[str]:
        # Unlike `rglob`, `walk` does not mind a folder that goes away while it looks.
        found = os.walk(jobs.options.folder)
        return sorted(f"{folder} {names}" for folder, _, names in found)

    before = kept()
    head = ("Content-Length: 4000000", "Content-Type: application/octet-stream")
    sent = service.request("POST /v1/jobs?name=a.h5ad HTTP/1.1", *head, body=b"x" * 2_000_000)
    with service.connect() as connection:
        connection.sendall(sent)
        wait_until(lambda: kept() != before)
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: kept() == before)
    with service.connect() as connection:
        connection.sendall(sent)
        wait_until(lambda: kept() != before)
    wait_until(lambda: kept() == before)


def test_the_same_key_makes_one_job(service: Service, file: Path) -> None:
    content = file.read_bytes()
    first = job_of(upload(service, content, Idempotency_Key="one"))
    assert job_of(upload(service, content, Idempotency_Key="one")).id == first.id
    answer = upload(service, content, query="name=b.h5ad", Idempotency_Key="one")
    assert answer.status_code == 409
    problem(answer)
    for key in ("", "x" * 300, "ü"):
        sent = {**FILE, "Idempotency-Key": key.encode("latin-1")}
        answer = service.client.post("/v1/jobs?name=a.h5ad", content=b"x", headers=sent)
        assert answer.status_code == 422


def test_jobs_are_listed_with_the_newest_first(service: Service, file: Path, job: JobState) -> None:
    new = job_of(upload(service, file.read_bytes()))
    listed = [one["id"] for one in service.client.get("/v1/jobs").json()["jobs"]]
    assert listed[0] == new.id
    assert job.id in listed
    second = service.client.get("/v1/jobs?first=1&count=1").json()["jobs"]
    assert [one["id"] for one in second] == listed[1:2]
    assert service.client.get("/v1/jobs?count=0").status_code == 422
    assert service.client.get("/v1/jobs?page=1").status_code == 422
    ended(service, new)


def test_parts_of_the_results(service: Service, job: JobState, expected: bytes) -> None:
    lines = expected.splitlines(keepends=True)
    for first, count in ((0, 5), (7, 1), (CELLS - 1, 100), (CELLS, 5), (3, 0)):
        path = f"/v1/jobs/{job.id}/results?first={first}&count={count}"
        answer = service.client.get(path)
        assert answer.content == b"".join(lines[first : first + count])
        assert "Content-Disposition" not in answer.headers
    for query in ("first=-1", "count=x", "format=xlsx", "format=csv&first=1"):
        answer = service.client.get(f"/v1/jobs/{job.id}/results?{query}")
        assert answer.status_code == 422


@pytest.mark.parametrize("kind", ["csv", "parquet", "h5ad"])
def test_files_of_results(service: Service, job: JobState, kind: str, tmp_path: Path) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    answer = service.client.get(f"/v1/jobs/{job.id}/results?format={kind}")
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["Content-Length"])
    assert f".{kind}" in answer.headers["Content-Disposition"]
    if kind == "h5ad":
        (tmp_path / "got.h5ad").write_bytes(answer.content)
        got = anndata.read_h5ad(tmp_path / "got.h5ad")
        assert got.n_obs == CELLS
        assert np.array_equal(got.X.toarray(), counts(CELLS))


def test_columns_for_the_page(service: Service, job: JobState) -> None:
    answer = service.client.get(f"/v1/jobs/{job.id}/columns")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content[:8] == b"C2TCOLS1"
    assert len(answer.content) == int(answer.headers["Content-Length"])


def test_events_tell_all_and_go_on_where_they_were(service: Service, job: JobState) -> None:
    text = service.client.get(f"/v1/jobs/{job.id}/events").text
    events = sse(text)
    assert events[-1][0] == "done"
    seen = [
        n
        for name, e in events
        if name == "cells"
        for n in range(e["first"], e["first"] + e["count"])
    ]
    assert seen == list(range(CELLS))
    numbers = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
    assert numbers == sorted(set(numbers)) == [event["id"] for _, event in events]
    path = f"/v1/jobs/{job.id}/events"
    later = service.client.get(path, headers={"Last-Event-ID": str(numbers[0])}).text
    assert [event["id"] for _, event in sse(later)] == numbers[1:]
    last = service.client.get(path, headers={"Last-Event-ID": str(numbers[-1])}).text
    assert sse(last) == []
    for bad in ("x", "-1", "1e3", "9" * 30):
        answer = service.client.get(path, headers={"Last-Event-ID": bad})
        assert answer.status_code == 422


def test_a_job_that_runs_is_watched_read_cancelled_and_resumed(
    service: Service, file: Path, expected: bytes, gate: Gate
) -> None:
    job = job_of(upload(service, file.read_bytes()))
    with service.client.stream("GET", f"/v1/jobs/{job.id}/events") as answer:
        assert gate.reached.wait(60)
        assert service.client.get(f"/v1/jobs/{job.id}").json()["state"] == "running"
        results = service.client.get(f"/v1/jobs/{job.id}/results")
        assert results.content.count(b"\n") == int(results.headers["C2T-Cells"]) < CELLS
        early = service.client.get(f"/v1/jobs/{job.id}/results?format=csv")
        assert early.status_code == 409
        problem(early)
        assert service.client.post(f"/v1/jobs/{job.id}/cancel").status_code == 202
        gate.open()
        events = sse("".join(answer.iter_text()))
    assert events[-1][0] == "cancelled"
    assert ended(service, job).state == "cancelled"
    assert service.client.post(f"/v1/jobs/{job.id}/resume").status_code == 202
    assert ended(service, job).state == "done"
    assert service.client.get(f"/v1/jobs/{job.id}/results").content == expected


def test_streams_of_a_service_that_stops_end(model: c2t.Model, file: Path, tmp_path: Path) -> None:
    room = EngineRoom(model)
    jobs = Jobs(room, JobOptions(folder=tmp_path / "jobs"))  # not started: its jobs wait
    with serving(room, jobs=jobs) as service:
        job = job_of(upload(service, file.read_bytes()))
        with service.client.stream("GET", f"/v1/jobs/{job.id}/events") as answer:
            assert room.drain(30)
            "".join(answer.iter_text())  # comes to an end
        assert service.client.get(f"/v1/jobs/{job.id}").json()["state"] == "queued"
    jobs.close()
    room.close()


def test_jobs_that_were_closed_are_read_and_not_changed(
    model: c2t.Model, file: Path, tmp_path: Path
) -> None:
    room = EngineRoom(model)
    jobs = Jobs(room, JobOptions(folder=tmp_path / "jobs"))
    with serving(room, jobs=jobs) as service:
        path = f"/v1/jobs/{job_of(upload(service, file.read_bytes())).id}"
        jobs.close()
        for rest in ("", "/results"):
            assert service.client.get(path + rest).status_code == 200
        changes = (("DELETE", path), ("POST", f"{path}/cancel"), ("POST", f"{path}/resume"))
        for method, address in changes:
            answer = service.client.request(method, address)
            assert answer.status_code == 503
            assert "stop" in problem(answer)["detail"]
        answer = upload(service, file.read_bytes())
        assert answer.status_code == 503
    room.close()


def test_a_job_that_runs_is_removed(service: Service, file: Path, gate: Gate) -> None:
    job = job_of(upload(service, file.read_bytes()))
    path = f"/v1/jobs/{job.id}"
    with service.client.stream("GET", f"{path}/events") as answer:
        assert gate.reached.wait(60)
        gate.open()
        deleted = service.client.delete(path)
        assert (deleted.status_code, deleted.content) == (204, b"")
        last = sse("".join(answer.iter_text()))[-1]
    assert last[0] in ("problem", "done", "cancelled")
    for rest in ("", "/events", "/results", "/results?format=csv", "/columns"):
        answer = service.client.get(path + rest)
        assert answer.status_code == 404
        problem(answer)
    assert service.client.delete(path).status_code == 404
    for action in ("cancel", "resume"):
        assert service.client.post(f"{path}/{action}").status_code == 404


@pytest.mark.parametrize("identity", ["0" * 32, "x", "..", "%2e%2e", "a%2fb", "%00", "é" * 40])
def test_jobs_that_are_not_there(service: Service, identity: str) -> None:
    for method, rest in (("GET", ""), ("GET", "/results"), ("GET", "/columns"), ("DELETE", "")):
        answer = service.client.request(method, f"/v1/jobs/{identity}{rest}")
        assert answer.status_code in (404, 405)
        problem(answer)


def test_the_service_says_what_an_upload_may_have(service: Service) -> None:
    found = service.client.get("/v1/bundle").json()
    assert found["jobs"]
    assert found["limits"]["upload_bytes"] == 5_000_000
