"""The service's description of itself, and strangers who call it by that alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ask_bundles import vector_bundle
from http_service import Service, serving
from tiny_data import JOINT

import c2t
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.room import EngineRoom

OPTIONS = HttpOptions(token="0123456789abcdef")


@pytest.fixture(scope="module")
def service(
    room: EngineRoom, metrics: Metrics, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    jobs = Jobs(room, JobOptions(folder=tmp_path_factory.mktemp("state") / "jobs"))
    jobs.start()
    with serving(room, OPTIONS, jobs=jobs, metrics=metrics) as service:
        yield service
    jobs.close()


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get("/openapi.json").json()
    return found


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """All objects of a document."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from inside(part)
    elif isinstance(value, list):
        for part in value:
            yield from inside(part)


def test_references_lead_somewhere_and_nothing_is_left_over(document: dict[str, Any]) -> None:
    named = {one["$ref"] for one in inside(document) if "$ref" in one}
    there = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in document["components"][kind]
    }
    assert named <= there
    unused = {name.rsplit("/", 1)[1] for name in there - named}
    # Types whose fields are parameters.
    assert unused <= {"FileName", "JobsPage", "ResultsQuery"}


def test_every_route_is_described_and_answers_no_other_method(
    service: Service, document: dict[str, Any]
) -> None:
    for path, operations in document["paths"].items():
        called = path.replace("{id}", "0" * 32).replace("{name}", "other")
        answer = service.client.request("BREW", called)
        assert answer.status_code == 405
        allowed = set(answer.headers["Allow"].split(", "))
        assert {method.upper() for method in operations} == allowed, path


def test_every_operation_names_the_errors_of_its_kind(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            statuses = set(operation["responses"])
            assert {"403", "429", "500"} <= statuses
            assert ("401" in statuses) == ("security" in operation)
            assert ("requestBody" in operation) <= ({"400", "413", "415", "422"} <= statuses)
            assert ("{id}" in path) <= ("404" in statuses)
            assert operation["summary"]


def test_types_are_described_without_the_form_of_docstrings(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    cell = schemas["CountedCell"]
    assert cell["description"] == "A cell to describe."
    assert "Ensembl id" in cell["properties"]["counts"]["description"]
    for name, schema in schemas.items():
        assert not re.search(r"Args:|\n|  ", schema["description"]), name


def test_a_service_without_token_or_jobs_describes_none(room: EngineRoom) -> None:
    with serving(room) as service:
        text = service.client.get("/openapi.json").text
    assert "/v1/jobs" not in text
    assert "bearer" not in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["describes", "embeds", "answers"])
def test_whoever_goes_by_the_description_meets_no_surprise(
    service: Service, tmp_path: Path, kind: str
) -> None:
    """Schemathesis: no 5xx, no status, header or body that the document does not have.

    Left out is the check that what a schema allows is accepted: which genes a bundle knows, which
    settings fit its decoder, and what it can do, is in no schema.
    """
    pytest.importorskip("schemathesis")
    if kind == "describes":
        call_by_description(service, tmp_path)
        return
    bundle = JOINT if kind == "embeds" else vector_bundle(tmp_path / "asks")
    with c2t.open(bundle, c2t.DescribeOptions(threads=1, engine="cpu")) as model:
        room = EngineRoom(model)
        jobs = Jobs(room, JobOptions(folder=tmp_path / "state"))
        jobs.start()
        with serving(room, OPTIONS, jobs=jobs) as other:
            call_by_description(other, tmp_path)
        jobs.close()
        room.close()


def call_by_description(service: Service, folder: Path) -> None:
    """Let Schemathesis call a service."""
    call = [sys.executable, "-P", "-m", "schemathesis.cli", "run"]
    call += [f"http://127.0.0.1:{service.port}/openapi.json", "--no-color", "--warnings=off"]
    call += ["--header", f"Authorization: Bearer {OPTIONS.token}", "--max-examples=25"]
    call += ["--exclude-checks=positive_data_acceptance", "--generation-database=none", "--seed=1"]
    ended = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout
    paths = len(service.client.get("/openapi.json").json()["paths"])
    tested = re.search(r"Tested: (\d+)", ended.stdout)
    assert tested is not None
    assert int(tested[1]) >= paths
