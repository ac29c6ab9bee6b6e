"""Vectors and scores over HTTP, by a bundle with a joint space and by one with a decoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from http_service import JSON, Service, problem, serving
from serve_cells import anndata_of, counted_cells, counts
from serve_process import served
from tiny_data import JOINT
from tolerance import FLOAT32, worst_difference

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.room import EngineRoom

TEXTS = ["activated T cells", "a monocyte"]


@pytest.fixture(scope="module")
def joint() -> Iterator[c2t.Model]:
    with c2t.open(JOINT) as model:
        yield model


@pytest.fixture(scope="module")
def joint_service(joint: c2t.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    room = EngineRoom(joint)
    jobs = Jobs(room, JobOptions(folder=tmp_path_factory.mktemp("state") / "jobs"))
    jobs.start()
    with serving(room, jobs=jobs) as service:
        yield service
    jobs.close()
    room.close()


def cells(count: int) -> list[dict[str, object]]:
    return [
        {"id": f"c{n}", "counts": cell.counts}
        for n, cell in enumerate(counted_cells(counts(count)))
    ]


def ask(service: Service, path: str, **body: object):
    return service.client.post(path, json=body, headers=JSON)


def test_a_bundle_that_only_embeds_is_warmed_up(tmp_path: Path) -> None:
    """A joint space without texts: there is no second tower to open."""
    folder = shutil.copytree(JOINT, tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["joint_space"]["text"]
    manifest["tasks"] = ["embed"]
    for name in ("text.onnx", "text.onnx.data"):
        del manifest["files"][name]
        (folder / name).unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with c2t.open(folder) as model:
        room = EngineRoom(model)
        room.warm_up()
        room.close()


def test_embed_gives_the_models_vectors(joint_service: Service, joint: c2t.Model) -> None:
    answer = ask(joint_service, "/v1/embed", cells=cells(4))
    assert answer.status_code == 200, answer.text
    found, expected = answer.json()["cells"], joint.embed(anndata_of(counts(4)))
    assert [cell["cell"] for cell in found] == ["c0", "c1", "c2", "c3"]
    assert expected.joint is not None
    for cell, own, place in zip(found, expected.embedding, expected.joint, strict=True):
        assert worst_difference(np.float32(cell["embedding"]), own) < FLOAT32
        assert worst_difference(np.float32(cell["joint"]), place) < FLOAT32
        assert cell["error"] is None


def test_search_gives_the_models_scores_and_says_what_was_cut(
    joint_service: Service, joint: c2t.Model
) -> None:
    answer = ask(joint_service, "/v1/search", cells=cells(3), texts=[*TEXTS, "a cell " * 40])
    assert answer.status_code == 200, answer.text
    found = np.array([cell["scores"] for cell in answer.json()["cells"]])
    expected = joint.search(anndata_of(counts(3)), TEXTS).scores
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-5)
    assert any("longer than the 32 tokens" in said for said in answer.json()["warnings"])


def test_labels_are_compared_in_the_joint_space(joint_service: Service, joint: c2t.Model) -> None:
    answer = ask(joint_service, "/v1/annotate", cells=cells(3), labels=["T cell", "B cell"])
    assert answer.status_code == 200, answer.text
    expected = list(joint.annotate(anndata_of(counts(3)), ["T cell", "B cell"]))
    found = answer.json()["cells"]
    assert [cell["label"] for cell in found] == [cell.label for cell in expected]
    assert [cell["mass"] for cell in found] == [1.0] * 3


def test_what_a_bundle_cannot_do_is_refused_by_name(
    joint_service: Service, service: Service
) -> None:
    about = joint_service.client.get("/v1/bundle").json()
    assert (about["family"], about["tasks"]) == ("cellwhisperer", ["embed", "search", "annotate"])
    assert about["settings"] is None
    assert about["models"]["decoder"] is None
    assert about["engine"].startswith("onnxruntime-cpu")
    for path in ("/v1/describe", "/v1/explain", "/v1/jobs"):
        answer = ask(joint_service, path, cells=cells(1))
        assert answer.status_code == 422, (path, answer.text)
        assert "(cellwhisperer)" in problem(answer)["detail"], path
    refused = ask(service, "/v1/search", cells=cells(1), texts=TEXTS)
    assert refused.status_code == 422
    assert "(cell2text) cannot search" in problem(refused)["detail"]
    assert service.client.get("/v1/bundle").json()["tasks"][0] == "describe"
    embedded = ask(service, "/v1/embed", cells=cells(1)).json()["cells"][0]
    assert embedded["joint"] is None
    assert len(embedded["embedding"]) == 16


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"texts": []}, "texts"),
        ({"texts": ["x" * 4001]}, "texts"),
        ({"texts": TEXTS, "more": 1}, "more"),
        ({"texts": ["same", "same"]}, "there twice"),
        ({"texts": [" "]}, "is empty"),
    ],
)
def test_refuses_texts_that_cannot_be_compared(
    joint_service: Service, body: dict[str, object], words: str
) -> None:
    answer = ask(joint_service, "/v1/search", cells=cells(1), **body)
    assert answer.status_code in (400, 422), answer.text
    assert words in problem(answer)["detail"]


def test_openapi_has_both(joint_service: Service) -> None:
    document = json.loads(joint_service.client.get("/openapi.json").text)
    assert {"/v1/embed", "/v1/search"} <= document["paths"].keys()


def test_the_whole_service_opens_over_a_bundle_that_writes_no_texts(tmp_path: Path) -> None:
    with served(JOINT, tmp_path) as service:
        where = service.wait_for(r"HTTP and the page are at (http://[0-9.:]+)")
        assert "onnxruntime-cpu" in service.wait_for(r"ready after [0-9.]+ s: (.*)")
        assert httpx.get(f"{where}/v1/bundle").json()["family"] == "cellwhisperer"
