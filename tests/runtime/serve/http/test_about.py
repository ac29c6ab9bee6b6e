"""What the service says of itself."""

from __future__ import annotations

import msgspec
import pytest
from http_service import Service, problem, serving

import c2t
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.serve.http.routes.about import BundleInfo
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import EngineError


def test_the_bundle_is_named_with_its_settings_and_limits(service: Service) -> None:
    bundle = service.room.model.bundle
    answer = service.client.get("/v1/bundle")
    found = msgspec.json.decode(answer.content, type=BundleInfo)
    assert (found.name, found.digest) == (bundle.manifest.name, bundle.digest)
    assert found.engine == service.room.model.describer().engines.label
    assert found.c2t_version == c2t.__version__
    assert found.settings.max_new_tokens == bundle.manifest.generation.max_new_tokens
    assert found.species == "human"
    assert found.genes == 60
    assert found.limits.body_bytes == service.options.body_bytes
    assert not found.jobs
    assert "reviewed by a person" in found.intended_use


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"],
)
def test_a_service_that_can_describe_is_healthy(service: Service, path: str) -> None:
    assert service.client.get(path).json() == {"status": "ok"}


def test_models_of_the_open_inference_protocol(service: Service) -> None:
    assert service.client.get("/v2").json()["name"] == "c2t"
    model = service.client.get("/v2/models/tiny").json()
    assert model["name"] == "tiny"
    assert model["versions"] == [service.room.model.bundle.digest]
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/tiny/"):
        answer = service.client.get(path)
        assert answer.status_code == 404
        problem(answer)


def test_a_service_that_stops_says_so(model: c2t.Model) -> None:
    room = EngineRoom(model)
    with serving(room) as service:
        assert room.drain(10)
        assert service.client.get("/healthz").status_code == 200
        for path in ("/readyz", "/v2/health/ready", "/v2/models/tiny/ready"):
            answer = service.client.get(path)
            assert answer.status_code == 503
            assert "stop" in problem(answer)["detail"]
            assert int(answer.headers["Retry-After"]) > 0
        body = {"cells": [{"counts": {"ENSG00000000001": 1}}]}
        answer = service.client.post("/v1/describe", json=body)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        problem(answer)


@pytest.mark.parametrize("failure", [EngineError("no memory", hint="buy some"), KeyError("a bug")])
def test_engines_that_do_not_work_are_not_ready(
    model: c2t.Model, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def failing(*_: object) -> None:
        raise failure

    monkeypatch.setattr(OnnxRuntimeEncoder, "encode", failing)
    room = EngineRoom(model)
    with serving(room, ready=False) as service:
        while "opened" in (detail := problem(service.client.get("/readyz"))["detail"]):
            pass
        assert ("no memory" in detail) == isinstance(failure, EngineError)
        assert "a bug" not in detail
    room.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("GET", "/v1/jobs", 404, None),
        ("GET", "/v1/describe/", 404, None),
        ("GET", "/v1/../etc/passwd", 404, None),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404, None),
        ("GET", "/v1/describe", 405, "POST"),
        ("DELETE", "/v1/bundle", 405, "GET"),
        ("OPTIONS", "/v1/describe", 405, "POST"),
        ("HEAD", "/v1/bundle", 405, "GET"),
        ("BREW", "/healthz", 405, "GET"),
    ],
)
def test_wrong_ways_are_problems_too(
    service: Service, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = service.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers.get("Allow") == allow
    assert not any(name.startswith("access-control") for name in answer.headers)
    if method != "HEAD":
        problem(answer)


def test_answers_are_for_nobody_else(service: Service) -> None:
    for path in ("/v1/bundle", "/nothing", "/healthz"):
        headers = service.client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "Server" not in headers
