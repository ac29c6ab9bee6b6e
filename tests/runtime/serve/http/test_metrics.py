"""Metrics: their names, and that they count what happened."""

from __future__ import annotations

import logging

import pytest
from decoder_gate import Gate
from http_service import JSON, Service, problem, wait_until
from prometheus_client.parser import text_string_to_metric_families
from serve_cells import GENES

from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest
from c2t.runtime.serve.room.room import EngineRoom

CELL = {"counts": {GENES[3]: 5, GENES[8]: 2}}
SAMPLES = {
    "c2t_requests_total": {"route", "code"},
    "c2t_request_duration_seconds_bucket": {"route", "le"},
    "c2t_queue_cells": set(),
    "c2t_queue_wait_seconds_bucket": {"le"},
    "c2t_batch_cells_bucket": {"le"},
    "c2t_cells_total": {"outcome"},
    "c2t_time_to_first_token_seconds_bucket": {"le"},
    "c2t_time_per_output_token_seconds_bucket": {"le"},
    "c2t_rejected_total": {"reason"},
    "c2t_bundle_info": {"digest", "engine"},
}


def samples(service: Service) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = service.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def describe(service: Service, *cells: object) -> int:
    return service.client.post("/v1/describe", json={"cells": cells}).status_code


def test_all_metrics_have_their_names_and_labels(service: Service) -> None:
    assert describe(service, CELL) == 200
    service.client.get("/v1/bundle", headers={"Host": "evil.example"})
    found: dict[str, set[str]] = {}
    for name, labels in samples(service):
        found[name] = {label for label, _ in labels}
    assert {name: found.get(name) for name in SAMPLES} == SAMPLES


def test_they_count(service: Service) -> None:
    before = samples(service)
    assert describe(service, CELL, CELL, {"counts": {}}) == 200
    assert describe(service) == 422
    after = samples(service)

    def more(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return after[key] - before.get(key, 0)

    assert more("c2t_requests_total", route="/v1/describe", code="200") == 1
    assert more("c2t_requests_total", route="/v1/describe", code="422") == 1
    assert more("c2t_request_duration_seconds_count", route="/v1/describe") == 2
    assert more("c2t_cells_total", outcome="text") == 2
    assert more("c2t_cells_total", outcome="error") == 1
    assert more("c2t_time_to_first_token_seconds_count") == 2
    assert more("c2t_time_per_output_token_seconds_count") == 2
    assert more("c2t_queue_wait_seconds_count") == 3
    bundle = service.room.model.bundle.digest
    engine = service.room.model.describer().engines.label
    assert after["c2t_bundle_info", frozenset({("digest", bundle), ("engine", engine)})] == 1


def test_paths_of_strangers_make_no_new_series(service: Service) -> None:
    for number in range(20):
        service.client.get(f"/nothing/{number}")
        service.client.get(f"/v2/models/{number}")
    routes = {dict(labels).get("route") for _, labels in samples(service)}
    assert {"none", "/v2/models/{name}"} <= routes
    assert not any(route and route[-1].isdigit() for route in routes)


def test_the_queue_is_seen(service: Service, gate: Gate) -> None:
    cells = [CountedCell(counts={GENES[3]: 5.0}) for _ in range(5)]
    ticket = service.room.describe(DescribeRequest(cells=cells))
    assert gate.reached.wait(60)
    wait_until(lambda: samples(service)["c2t_queue_cells", frozenset()] == 3)
    gate.open()
    ticket.wait(60)
    assert samples(service)["c2t_queue_cells", frozenset()] == 0


def test_a_bug_is_a_500_that_says_nothing_and_a_traceback_in_the_log(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        msg = "a secret of the service"
        raise ZeroDivisionError(msg)

    monkeypatch.setattr(EngineRoom, "_submit", broken)
    with caplog.at_level(logging.ERROR):
        answer = service.client.post("/v1/describe", json={"cells": [CELL]}, headers=JSON)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "fault" in problem(answer)["detail"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ZeroDivisionError: a secret of the service" in caplog.text
    key = ("c2t_requests_total", frozenset({("route", "/v1/describe"), ("code", "500")}))
    assert samples(service)[key] == 1
