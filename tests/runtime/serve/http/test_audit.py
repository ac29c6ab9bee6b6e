"""The audit trail behind the HTTP door: whole answers, streams, and a disk that is full."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from http_service import EVENTS, JSON, Service, problem, serving
from serve_cells import counted_cells, counts
from service_trail import Disk, ServiceTrail, hash_of, service_trail

import c2t
from c2t.runtime.serve.room.messages import CellResult, DescribeRequest
from c2t.runtime.serve.room.room import EngineRoom


@pytest.fixture
def trail(tmp_path: Path):
    with service_trail(tmp_path) as trail:
        yield trail


@pytest.fixture
def service(model: c2t.Model, trail: ServiceTrail):
    room = EngineRoom(model, audit=trail.audit)
    with serving(room) as service:
        yield service
    room.close()


def body(cells: int) -> bytes:
    return msgspec.json.encode(DescribeRequest(cells=counted_cells(counts(cells))))


def test_an_answer_has_its_line(service: Service, trail: ServiceTrail) -> None:
    answer = service.client.post("/v1/describe", content=body(3), headers=JSON)
    results = msgspec.convert(answer.json()["cells"], list[CellResult])
    (line,) = trail.lines()
    assert line["details"]["text_sha256"] == hash_of(results)
    assert line["who"]["asked_by"] == "HTTP, 127.0.0.1"


def test_a_stream_has_two(service: Service, trail: ServiceTrail) -> None:
    answer = service.client.post("/v1/describe", content=body(3), headers=EVENTS)
    assert "event: done" in answer.text
    assert [line["action"] for line in trail.lines()] == ["request", "request"]


@pytest.mark.parametrize("headers", [JSON, EVENTS])
def test_on_a_full_disk_no_text_is_sent(
    service: Service, trail: ServiceTrail, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    Disk(monkeypatch).full = True
    answer = service.client.post("/v1/describe", content=body(2), headers=headers)
    assert "the audit trail takes no line" in answer.text
    assert str(trail.files.trail) not in answer.text  # where it lies is nobody's business
    assert "event: text" not in answer.text
    assert '"text"' not in answer.text
    again = service.client.post("/v1/describe", content=body(2), headers=JSON)
    assert again.status_code == 503
    assert problem(again)["detail"].startswith("the audit trail takes no line")
    assert again.headers["Retry-After"]
    assert service.client.get("/healthz").status_code == 200


def test_a_slow_disk_holds_up_no_other_request(
    service: Service, trail: ServiceTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    write = trail.audit._write

    def held(*args, **kwargs):
        reached.set()
        assert go_on.wait(60)
        return write(*args, **kwargs)

    monkeypatch.setattr(trail.audit, "_write", held)
    answers = []

    def ask() -> None:
        answers.append(service.client.post("/v1/describe", content=body(1), headers=JSON))

    asking = threading.Thread(target=ask)
    asking.start()
    assert reached.wait(60)
    assert service.client.get("/v1/bundle").status_code == 200
    assert not answers
    go_on.set()
    asking.join(60)
    assert answers[0].status_code == 200
