"""The service over a bundle without an encoder: it describes, compares labels, refuses the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, sp
from http_service import Service, problem, serving, wait_until
from tiny_data import SENTENCES

import c2t
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.room import EngineRoom

GENES = ("CD3E", "ACTB", "GAPDH", "B2M", "TMSB4X", "FTL")
COUNTS = np.array([[3, 2, 1, 0, 0, 4], [0, 1, 9, 2, 0, 1], [1, 0, 0, 0, 2, 0]], np.float32)
MOUSE = {"organism": "mouse"}
WORDS = "the bundle 'tiny-sentences' (cell2sentence) cannot "


@pytest.fixture(scope="module")
def sentences() -> Iterator[c2t.Model]:
    with c2t.open(SENTENCES, c2t.DescribeOptions(threads=1, engine="cpu")) as model:
        yield model


@pytest.fixture(scope="module")
def service(sentences: c2t.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    room = EngineRoom(sentences)
    jobs = Jobs(room, JobOptions(folder=tmp_path_factory.mktemp("state") / "jobs"))
    jobs.start()
    try:
        with serving(room, jobs=jobs) as running:
            yield running
    finally:
        jobs.close()
        room.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = anndata.AnnData(sp.csr_matrix(COUNTS))
    data.var_names = list(GENES)
    data.obs_names = ["a", "b", "c"]
    path = tmp_path / "cells.h5ad"
    data.write_h5ad(path)
    return path


def cells() -> list[dict[str, object]]:
    return [
        {"id": name, "counts": {g: float(n) for g, n in zip(GENES, row, strict=True) if n}}
        for name, row in zip("abc", COUNTS, strict=True)
    ]


def texts(model: c2t.Model, file: Path) -> list[str | None]:
    found = model.describe(file, reading=CellOptions(organism="mouse"))
    return [description.text for description in found]


def test_it_says_what_it_can_do(service: Service) -> None:
    said = service.client.get("/v1/bundle").json()
    assert said["family"] == "cell2sentence"
    assert said["tasks"] == ["describe", "annotate"]
    assert said["species"] == "human or mouse"
    assert (said["genes"], said["context"]) == (None, 512)
    assert said["models"]["encoder"] is None
    assert "symbols of the 20 highest" in said["inputs"]


def test_texts_are_those_of_a_file(service: Service, sentences: c2t.Model, file: Path) -> None:
    sent = service.client.post("/v1/describe", json={"cells": cells(), "settings": MOUSE})
    assert sent.status_code == 200, sent.text
    found = [one["text"] for one in sent.json()["cells"]]
    assert found == texts(sentences, file)


def test_a_guess_at_the_species_is_said(service: Service) -> None:
    sent = service.client.post("/v1/describe", json={"cells": cells()})
    (warning,) = sent.json()["warnings"]
    assert warning.startswith("nothing in the request says whether its cells are of human or mouse")
    assert "--" not in warning


def test_labels(service: Service) -> None:
    asked = {"cells": cells(), "labels": ["B cell", "platelet"], "settings": MOUSE}
    sent = service.client.post("/v1/annotate", json=asked)
    assert sent.status_code == 200, sent.text
    assert len(sent.json()["cells"]) == 3


def test_what_needs_an_encoder_is_refused(service: Service) -> None:
    found = problem(service.client.post("/v1/explain", json={"cells": cells()[:1]}))
    assert found["status"] == 422
    assert found["detail"] == f"{WORDS}explain"
    assert found["hint"] == "it can describe and annotate: see `c2t info`"


def test_a_job(service: Service, sentences: c2t.Model, file: Path) -> None:
    """A file without a place for its cells: no embedding draws them."""
    sent = service.client.post(
        "/v1/jobs",
        params={"name": "cells.h5ad", "organism": "mouse"},
        content=file.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert sent.status_code == 202, sent.text
    identity = sent.json()["id"]
    ended = ("done", "failed")
    wait_until(lambda: service.client.get(f"/v1/jobs/{identity}").json()["state"] in ended)
    assert service.client.get(f"/v1/jobs/{identity}").json()["state"] == "done"
    lines = service.client.get(f"/v1/jobs/{identity}/results").text.splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts(sentences, file)
    assert service.client.get(f"/v1/jobs/{identity}/columns").status_code == 200
