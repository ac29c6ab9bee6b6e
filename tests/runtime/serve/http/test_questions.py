"""Questions over HTTP: the model's own answers, about each cell or about all together."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from ask_bundles import SEVERAL, chat_bundle, sentence_bundle, vector_bundle
from http_service import JSON, Service, problem, serving, wait_until
from serve_cells import anndata_of, counted_cells, counts

import c2t
from c2t.runtime.cells.inputs.named_genes import NamedGenes
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.messages import CountedCell
from c2t.runtime.serve.room.questions import AskRequest, QuestionAnalyses
from c2t.runtime.serve.room.room import EngineRoom

QUESTION = "What cell is it?"
SETTINGS = {"max_new_tokens": 8, "temperature": 1.0, "seed": 7}
OPTIONS = DescribeOptions(engine="cpu", threads=1)


def cells(count: int) -> list[dict[str, object]]:
    return [
        {"id": f"c{n}", "counts": cell.counts}
        for n, cell in enumerate(counted_cells(counts(count)))
    ]


def post(service: Service, **body: object):
    return service.client.post("/v1/ask", json=body, headers=JSON)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[c2t.Model]:
    folder = vector_bundle(tmp_path_factory.mktemp("bundle") / "asks")
    with c2t.open(folder, OPTIONS) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(model: c2t.Model) -> Iterator[Service]:
    room = EngineRoom(model)
    with serving(room) as opened:
        yield opened
    room.close()


def test_answers_are_the_models_own(service: Service, model: c2t.Model) -> None:
    answer = post(service, cells=cells(3), question=QUESTION, settings=SETTINGS)
    assert answer.status_code == 200, answer.text
    options = DescribeOptions(engine="cpu", threads=1, **SETTINGS)
    data = anndata_of(counts(3))
    data.obs_names = ["c0", "c1", "c2"]
    expected = list(model.ask(data, QUESTION, options))
    found = answer.json()["answers"]
    assert [(a["name"], a["text"]) for a in found] == [(a.name, a.text) for a in expected]
    assert answer.json()["settings"]["seed"] == 7


def test_all_cells_together(service: Service, model: c2t.Model) -> None:
    answer = post(service, cells=cells(3), question=QUESTION, together=True)
    assert answer.status_code == 200, answer.text
    (expected,) = model.ask(anndata_of(counts(3)), QUESTION, groups={"x": [0, 1, 2]})
    (found,) = answer.json()["answers"]
    assert (found["name"], found["text"]) == ("together", expected.text)


def test_cells_that_are_not_in_the_mean_are_named(service: Service) -> None:
    (one, two) = cells(2)
    answer = post(service, cells=[one, {**two, "counts": {}}], question=QUESTION, together=True)
    assert [found["cells"] for found in answer.json()["answers"]] == [1]
    assert answer.json()["warnings"][-1] == (
        "1 of 2 cells are not in the group's mean: cell c1: cell is empty"
    )


def test_names_of_a_request_are_forgotten(tmp_path: Path) -> None:
    """A stranger may send other names each time."""
    with c2t.open(sentence_bundle(tmp_path / "asks"), OPTIONS) as model:
        room = EngineRoom(model)
        questions = QuestionAnalyses(room.analyses)
        before = _kept()
        for name in ("ONE", "TWO"):
            cell = CountedCell(counts={name: 3.0, "CD3E": 1.0})
            (answer,) = questions.ask(AskRequest(cells=[cell], question=QUESTION)).answers
            assert answer.error is None
        assert _kept() == before
        room.close()


def _kept() -> int:
    """Tables of names that are in memory."""
    gc.collect()
    return sum(type(each) is NamedGenes for each in gc.get_objects())


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"question": ""}, 422, "question"),
        ({"question": " "}, 422, "the question is empty"),
        ({"question": "x", "labels": ["a"]}, 422, "does not list any"),
        ({"question": "x", "settings": {"seed": 3}}, 422, "no token is drawn"),
        ({"question": "x", "settings": {"temperature": -1}}, 422, "temperature"),
    ],
)
def test_what_cannot_be_asked(
    service: Service, body: dict[str, object], status: int, said: str
) -> None:
    answer = post(service, cells=cells(1), **body)
    assert answer.status_code == status, answer.text
    assert said in str(problem(answer))


def test_several_cells_in_one_prompt(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = sentence_bundle(tmp_path_factory.mktemp("b") / "asks", SEVERAL, longest=450)
    named = [{"counts": {"CD3E": 4, "NKG7": 2 + n, "LYZ": 1}, "id": f"cell {n}"} for n in range(3)]
    with c2t.open(folder, OPTIONS) as opened:
        room = EngineRoom(opened)
        with serving(room) as service:
            body = {"cells": named, "question": QUESTION, "labels": ["B cell", "T cell"]}
            one = post(service, **body)
            assert one.status_code == 422
            assert "several cells" in str(problem(one))
            all_of_them = post(service, together=True, **body)
            assert all_of_them.status_code == 200, all_of_them.text
            assert all_of_them.json()["answers"][0]["error"] is None
        room.close()


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[c2t.Model]:
    folder = chat_bundle(tmp_path_factory.mktemp("bundle") / "chat")
    with c2t.open(folder, OPTIONS) as opened:
        yield opened


def test_a_cell_of_a_job_is_asked_about(chat: c2t.Model, tmp_path: Path) -> None:
    data = anndata_of(counts(3))
    data.write_h5ad(tmp_path / "cells.h5ad")
    room = EngineRoom(chat)
    jobs = Jobs(room, JobOptions(folder=tmp_path / "jobs"))
    jobs.start()
    try:
        with serving(room, jobs=jobs) as service:
            made = service.client.post(
                "/v1/jobs",
                params={"name": "cells.h5ad", "max_new_tokens": 6, "temperature": 1, "seed": 5},
                content=(tmp_path / "cells.h5ad").read_bytes(),
                headers={"Content-Type": "application/octet-stream"},
            )
            path = f"/v1/jobs/{made.json()['id']}"
            wait_until(lambda: service.client.get(path).json()["state"] == "done")
            body = {"place": 1, "question": QUESTION}
            answer = service.client.post(f"{path}/ask", json=body, headers=JSON)
            assert answer.status_code == 200, answer.text
            options = DescribeOptions(
                engine="cpu", threads=1, max_new_tokens=6, temperature=1.0, seed=5
            )
            expected = list(chat.ask(data, QUESTION, options))[1]
            (found,) = answer.json()["answers"]
            assert (found["name"], found["text"]) == (expected.name, expected.text)
            assert answer.json()["settings"]["seed"] == 5
            for wrong, words in (
                ({**body, "place": 3}, "there is no cell 3"),
                ({**body, "question": " "}, "the question is empty"),
                ({**body, "labels": ["B cell"]}, "does not list any"),
            ):
                refused = service.client.post(f"{path}/ask", json=wrong, headers=JSON)
                assert refused.status_code == 422
                assert words in problem(refused)["detail"]
    finally:
        jobs.close()
        room.close()
