"""Labels and evidence over HTTP: of cells of a request, and of a cell of a job."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_service import JSON, Service, problem, serving, wait_until
from serve_cells import anndata_of, counted_cells, counts

import c2t
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.analyses import WAITING_MAX
from c2t.runtime.serve.room.room import EngineRoom

CELLS = 5
LABELS = ["B cell", "T cell", "monocyte"]
QUICK = {"runs": 64, "genes": 4}


@pytest.fixture(scope="module")
def jobs(room: EngineRoom, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    state = tmp_path_factory.mktemp("state") / "jobs"
    jobs = Jobs(room, JobOptions(folder=state, upload_bytes=5_000_000))
    jobs.start()
    yield jobs
    jobs.close()


@pytest.fixture(scope="module")
def service(room: EngineRoom, jobs: Jobs, metrics: Metrics) -> Iterator[Service]:
    with serving(room, jobs=jobs, metrics=metrics) as service:
        yield service


@pytest.fixture(scope="module")
def job(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that has described `CELLS` cells."""
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    anndata_of(counts(CELLS)).write_h5ad(path)
    sent = service.client.post(
        "/v1/jobs",
        params={"name": path.name},
        content=path.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert sent.status_code == 202, sent.text
    identity = str(sent.json()["id"])
    wait_until(lambda: service.client.get(f"/v1/jobs/{identity}").json()["state"] == "done")
    return identity


def cells(count: int) -> list[dict[str, object]]:
    return [
        {"id": f"c{n}", "counts": cell.counts}
        for n, cell in enumerate(counted_cells(counts(count)))
    ]


def test_labels_of_a_request_are_those_of_the_model(service: Service, model: c2t.Model) -> None:
    answer = service.client.post(
        "/v1/annotate", json={"cells": cells(3), "labels": LABELS, "top": 2}, headers=JSON
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()["cells"]
    assert [cell["cell"] for cell in found] == ["c0", "c1", "c2"]
    assert "in 3 of 3 cells the model would rather" in answer.json()["warnings"][-1]
    with pytest.warns(UserWarning, match="would rather say something else"):
        expected = list(model.annotate(anndata_of(counts(3)), LABELS))
    assert [cell["label"] for cell in found] == [cell.label for cell in expected]
    for cell, same in zip(found, expected, strict=True):
        assert cell["probability"] == pytest.approx(same.probability, abs=1e-4)
        assert cell["mass"] == pytest.approx(same.mass, rel=1e-3)
        assert [share["label"] for share in cell["top"]] == [LABELS[n] for n in same.top(2)]


def test_evidence_of_a_request(service: Service, model: c2t.Model) -> None:
    answer = service.client.post(
        "/v1/explain", json={"cells": cells(1), "evidence": QUICK}, headers=JSON
    )
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["cells"]
    (expected,) = model.explain(anndata_of(counts(1)), ExplainOptions(runs=64))
    assert found["words"] == expected.words
    assert found["runs"] == expected.runs
    assert [gene["gene_id"] for gene in found["genes"]] == [
        gene.gene_id for gene in expected.strongest(4)
    ]


def test_a_cell_of_a_job_is_asked_about(service: Service, job: str, model: c2t.Model) -> None:
    labels = service.client.post(
        f"/v1/jobs/{job}/annotate", json={"place": 2, "labels": LABELS}, headers=JSON
    )
    assert labels.status_code == 200, labels.text
    assert "in 1 of 1 cell the model would rather" in labels.json()["warnings"][-1]
    with pytest.warns(UserWarning, match="would rather say something else"):
        expected = list(model.annotate(anndata_of(counts(CELLS)), LABELS))[2]
    assert labels.json()["cells"][0]["label"] == expected.label
    assert labels.json()["cells"][0]["cell"] == expected.cell
    genes = service.client.post(
        f"/v1/jobs/{job}/explain", json={"place": 2, "evidence": QUICK}, headers=JSON
    )
    assert genes.status_code == 200, genes.text
    evidence = list(model.explain(anndata_of(counts(CELLS)), ExplainOptions(runs=64)))[2]
    assert genes.json()["words"] == evidence.words
    assert genes.json()["cell"] == evidence.cell
    assert [gene["gene_id"] for gene in genes.json()["genes"]] == [
        gene.gene_id for gene in evidence.strongest(4)
    ]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("annotate", {"cells": [{"counts": {"A": 1}}], "labels": []}, 422),
        ("annotate", {"cells": [], "labels": LABELS}, 422),
        ("annotate", {"cells": cells(1), "labels": ["B cell", "B cell"]}, 422),
        ("annotate", {"cells": cells(1), "labels": LABELS, "top": 0}, 422),
        ("annotate", {"cells": [{"counts": {"nothing": 1}}], "labels": LABELS}, 422),
        ("explain", {"cells": cells(1), "evidence": {"field": "mood"}}, 422),
        ("explain", {"cells": cells(1), "evidence": {"runs": 2}}, 422),
        ("explain", {"cells": cells(1), "mood": 1}, 422),
    ],
)
def test_what_cannot_be_asked_is_refused(
    service: Service, path: str, body: dict[str, object], status: int
) -> None:
    answer = service.client.post(f"/v1/{path}", json=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert problem(answer)["hint"]


def test_a_name_that_stands_twice_is_refused(service: Service) -> None:
    body = b'{"cells":[{"counts":{"A":1,"A":2}}],"labels":["B cell"]}'
    answer = service.client.post("/v1/annotate", content=body, headers=JSON)
    assert "stands twice" in problem(answer)["detail"]


def test_places_and_jobs_that_are_not_there(service: Service, job: str) -> None:
    behind = service.client.post(f"/v1/jobs/{job}/explain", json={"place": CELLS}, headers=JSON)
    assert behind.status_code == 422
    assert "no cell 5" in problem(behind)["detail"]
    nowhere = service.client.post(
        "/v1/jobs/nothing/annotate", json={"place": 0, "labels": LABELS}, headers=JSON
    )
    assert nowhere.status_code == 404


def test_a_cell_is_explained_as_its_job_has_written_it(service: Service, model: c2t.Model) -> None:
    sent = service.client.post(
        "/v1/jobs",
        json={"cells": cells(2), "settings": {"max_new_tokens": 3}},
        headers=JSON,
    )
    identity = sent.json()["id"]
    wait_until(lambda: service.client.get(f"/v1/jobs/{identity}").json()["state"] == "done")
    lines = service.client.get(f"/v1/jobs/{identity}/results").text.splitlines()
    found = service.client.post(
        f"/v1/jobs/{identity}/explain", json={"place": 1, "evidence": QUICK}, headers=JSON
    ).json()
    assert found["text"] == json.loads(lines[1])["text"]
    usual = list(model.describe(anndata_of(counts(2))))[1]
    assert found["text"] != usual.text


def test_questions_that_wait_hold_up_nothing_else(
    service: Service, job: str, model: c2t.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, gate = threading.Event(), threading.Event()
    plain = model.annotator

    def slow(*arguments: object) -> object:
        inside.set()
        assert gate.wait(60)
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "annotator", slow)
    body = {"cells": cells(1), "labels": LABELS}
    # As many as may wait: more than the threads that an event loop has on two cores.
    with ThreadPoolExecutor(WAITING_MAX + 1) as pool:
        asked = [
            pool.submit(service.client.post, "/v1/annotate", json=body, headers=JSON, timeout=90)
            for _ in range(WAITING_MAX + 1)
        ]
        try:
            assert inside.wait(60)
            wait_until(lambda: service.room.analyses._waiting == WAITING_MAX + 1)
            described = service.client.post(
                "/v1/describe", json={"cells": cells(8)}, headers=JSON, timeout=30
            )
            assert described.status_code == 200
            file = service.client.get(
                f"/v1/jobs/{job}/results", params={"format": "csv"}, timeout=30
            )
            assert file.status_code == 200
        finally:
            gate.set()
        assert [answer.result().status_code for answer in asked] == [200] * len(asked)


@pytest.mark.parametrize("value", ["null", "Null"])
def test_null_is_no_value_of_a_parameter(service: Service, job: str, value: str) -> None:
    answer = service.client.get(f"/v1/jobs/{job}/results", params={"count": value})
    assert answer.status_code == 422
    assert "count" in problem(answer)["detail"]
