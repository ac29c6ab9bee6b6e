"""Labels and evidence of a room: as the model says them, one at a time, and only while wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from tiny_data import tiny_bundle

from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.model import Model
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.serve.room import analyses as module
from c2t.runtime.serve.room.analysis_messages import (
    AnnotateRequest,
    EvidenceSettings,
    ExplainRequest,
    evidence_result,
    label_result,
)
from c2t.runtime.serve.room.limits import JobCancelled, OverloadedError, StoppingError
from c2t.runtime.serve.room.messages import CountedCell
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError, EngineError


@pytest.fixture
def model() -> Iterator[Model]:
    with Model(tiny_bundle().bundle, DescribeOptions(threads=1)) as opened:
        yield opened


@pytest.fixture
def room(model: Model) -> Iterator[EngineRoom]:
    opened = EngineRoom(model)
    yield opened
    opened.close()


def counted(model: Model, count: int) -> list[CountedCell]:
    ids = [name.decode() for name in model.bundle.genes.ensembl_id.tolist()]
    return [
        CountedCell(
            id=f"c{n}", counts={name: float(1 + (7 * n + k) % 11) for k, name in enumerate(ids)}
        )
        for n in range(count)
    ]


def test_labels_are_those_of_the_model(model: Model, room: EngineRoom) -> None:
    cells, labels = counted(model, 3), ["B cell", "T cell", "monocyte"]
    response = room.analyses.annotate(AnnotateRequest(cells=cells, labels=labels, top=2))
    read = room.read(cells, module.CellOptions())
    expected = [label_result(cell, 2) for cell in model.annotator(labels).annotate([read.cells])]
    assert response.cells == expected
    assert [len(cell.top) for cell in response.cells] == [2, 2, 2]
    assert all(cell.error is None for cell in response.cells)


def test_that_no_label_fits_is_said(model: Model, room: EngineRoom) -> None:
    # The weights are random: nearly all texts begin otherwise.
    request = AnnotateRequest(cells=counted(model, 3), labels=["B cell"])
    response = room.analyses.annotate(request)
    doubtful = sum(cell.mass < 0.5 for cell in response.cells if cell.mass is not None)
    assert doubtful
    said = f"in {doubtful} of 3 cells the model would rather say something else"
    assert [said in warning for warning in response.warnings].count(True) == 1
    empty = AnnotateRequest(cells=[CountedCell(id="none", counts={})], labels=["B cell"])
    assert not any("rather say" in warning for warning in room.analyses.annotate(empty).warnings)


def test_evidence_is_that_of_the_model(model: Model, room: EngineRoom) -> None:
    cells = counted(model, 2)
    settings = EvidenceSettings(runs=64, genes=5)
    response = room.analyses.explain(ExplainRequest(cells=cells, evidence=settings))
    read = room.read(cells, module.CellOptions())
    expected = [
        evidence_result(cell, 5)
        for cell in module.Explainer(
            model.bundle, model.describer(), ExplainOptions(runs=64)
        ).explain([read.cells])
    ]
    assert response.cells == expected
    assert all(len(cell.genes) <= 5 for cell in response.cells)


@pytest.mark.parametrize("labels", [["B cell", "B cell"], ["  "]])
def test_labels_that_cannot_be_compared_are_refused(
    model: Model, room: EngineRoom, labels: list[str]
) -> None:
    with pytest.raises(C2TError):
        room.analyses.annotate(AnnotateRequest(cells=counted(model, 1), labels=labels))


def test_a_field_that_texts_do_not_have_is_refused(model: Model, room: EngineRoom) -> None:
    request = ExplainRequest(cells=counted(model, 1), evidence=EvidenceSettings(field="mood"))
    with pytest.raises(C2TError, match="mood"):
        room.analyses.explain(request)


def test_what_nobody_wants_is_given_up(model: Model, room: EngineRoom) -> None:
    analyses = room.analyses
    request = AnnotateRequest(cells=counted(model, 2), labels=["B cell", "T cell"])
    with pytest.raises(JobCancelled):
        analyses.annotate(request, unwanted=lambda: True)
    assert room.drain(1)  # nothing is under way


def test_one_at_a_time_and_not_too_many_wait(
    model: Model, room: EngineRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    analyses = room.analyses
    request = AnnotateRequest(cells=counted(model, 1), labels=["B cell", "T cell"])
    inside, gate = threading.Event(), threading.Event()
    plain = model.annotator

    def slow(*arguments: object) -> object:
        inside.set()
        assert gate.wait(60)
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "annotator", slow)
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(analyses.annotate(request)))
        for _ in range(2)
    ]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    until = time.monotonic() + 60
    while analyses._waiting < 2 and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(OverloadedError):
        analyses.annotate(request)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 2


def test_a_room_that_is_closed_waits_until_they_have_left(
    model: Model, room: EngineRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, gate = threading.Event(), threading.Event()
    plain = model.annotator

    def slow(*arguments: object) -> object:
        inside.set()
        assert gate.wait(60)
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "annotator", slow)
    request = AnnotateRequest(cells=counted(model, 1), labels=["B cell", "T cell"])
    problems: list[str] = []

    def ask() -> None:
        with pytest.raises(EngineError) as caught:
            room.analyses.annotate(request)
        problems.append(caught.value.problem)

    asking = [threading.Thread(target=ask) for _ in range(2)]  # one of them waits
    for thread in asking:
        thread.start()
    assert inside.wait(60)
    closing = threading.Thread(target=room.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    gate.set()
    for thread in (closing, *asking):
        thread.join(60)
        assert not thread.is_alive()
    assert problems == ["the service stopped"] * 2


def test_a_room_that_stops_takes_none(model: Model, room: EngineRoom) -> None:
    room.drain(1)
    with pytest.raises(StoppingError):
        room.analyses.annotate(AnnotateRequest(cells=counted(model, 1), labels=["B cell"]))
