"""Labels compared and texts explained over JSON-RPC: answers, refusals, others meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ask_bundles import vector_bundle
from explain_bundle import model_with_fields
from held_analyses import LABELS, HeldAnalyses, until_waiting
from serve_cells import counted_cells, counts
from stdio_peer import Hosted, describe_params

import c2t
from c2t.runtime.serve.room import analyses as module
from c2t.runtime.serve.room.analysis_messages import (
    AnnotateRequest,
    EvidenceSettings,
    ExplainRequest,
)
from c2t.runtime.serve.room.questions import AskRequest, QuestionAnalyses
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.conversation import StdioOptions


@pytest.fixture
def host(room: EngineRoom) -> Iterator[Hosted]:
    with Hosted(room) as host:
        host.initialize()
        yield host


@pytest.fixture
def held(model: c2t.Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldAnalyses]:
    held = HeldAnalyses(monkeypatch, model)
    yield held
    held.open()


def annotate_params(cells: int = 1, **more: Any) -> dict[str, Any]:
    return describe_params(counts(cells), labels=LABELS, **more)


def test_labels_are_those_of_the_room(host: Hosted, room: EngineRoom) -> None:
    values = counts(3)
    host.ask(1, "annotate", describe_params(values, labels=LABELS, top=2))
    found = host.answer(1)["result"]
    request = AnnotateRequest(cells=counted_cells(values), labels=LABELS, top=2)
    assert found == msgspec.to_builtins(room.analyses.annotate(request))
    assert [len(cell["top"]) for cell in found["cells"]] == [2, 2, 2]


def test_evidence_is_that_of_the_room(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    values, evidence = counts(4), {"runs": 64, "genes": 5}
    with model_with_fields(tiny_bundle_folder, tmp_path) as model:
        room = EngineRoom(model)
        with Hosted(room) as host:
            host.initialize()
            host.ask("why", "explain", describe_params(values, evidence=evidence))
            found = host.answer("why")["result"]
        request = ExplainRequest(
            cells=counted_cells(values), evidence=EvidenceSettings(runs=64, genes=5)
        )
        assert found == msgspec.to_builtins(room.analyses.explain(request))
        room.close()
    explained = [cell for cell in found["cells"] if cell["error"] is None]
    assert len(explained) > 1
    assert all(len(cell["genes"]) == 5 and 0 < cell["runs"] <= 64 for cell in explained)


def test_answers_are_those_of_the_room(tmp_path: Path) -> None:
    values, question = counts(2), "What cell is it?"
    with c2t.open(vector_bundle(tmp_path / "asks")) as model:
        room = EngineRoom(model)
        with Hosted(room) as host:
            host.initialize()
            host.ask("q", "ask", describe_params(values, question=question))
            found = host.answer("q")["result"]
        request = AskRequest(cells=counted_cells(values), question=question)
        assert found == msgspec.to_builtins(QuestionAnalyses(room.analyses).ask(request))
        room.close()
    assert all(answer["text"] for answer in found["answers"])


def test_other_requests_go_on(host: Hosted, held: HeldAnalyses) -> None:
    host.ask(1, "annotate", annotate_params())
    assert held.reached.wait(60)
    host.ask(2, "describe", describe_params(counts(1)))
    assert len(host.answer(2)["result"]["cells"]) == 1
    held.open()
    assert len(host.answer(1)["result"]["cells"]) == 1


@pytest.mark.parametrize(
    ("method", "params", "code", "part"),
    [
        ("annotate", describe_params(counts(1)), -32602, "labels"),
        ("annotate", {"cells": [], "labels": ["B cell"]}, -32602, "cells"),
        ("annotate", {**annotate_params(), "labels": []}, -32602, "labels"),
        ("annotate", {**annotate_params(), "labels": ["a", "a"]}, -32602, "'a'"),
        ("annotate", annotate_params(top=0), -32602, "top"),
        ("annotate", annotate_params(stream=True), -32602, "stream"),
        ("annotate", annotate_params(settings={"num_beams": 2}), -32602, "num_beams"),
        ("ask", describe_params(counts(1), question=""), -32602, "question"),
        ("explain", describe_params(counts(17)), -32602, "16"),
        ("explain", describe_params(counts(1), evidence={"field": "mood"}), -32602, "mood"),
        ("explain", describe_params(counts(1), evidence={"runs": 1}), -32602, "runs"),
        ("explain", {"cells": [{"counts": {"nothing": 1}}]}, -32001, ""),
    ],
)
def test_wrong_params(
    host: Hosted, method: str, params: dict[str, Any], code: int, part: str
) -> None:
    host.ask(1, method, params)
    found, data = host.error(1)
    assert found == code
    assert part in data["problem"]


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("annotate", b'{"cells":[{"counts":{"A":1,"A":2}}],"labels":["x:y","z"]}', "A"),
        ("annotate", b'{"cells":[{"counts":{"A":1}}],"labels":["x"],"labels":["y"]}', "labels"),
        ("explain", b'{"cells":[{"counts":{"A":1}}],"evidence":{"runs":64,"runs":64}}', "runs"),
        ("explain", b'{"cells":[{"counts":{"A":1,"\\u0041":2}}]}', "A"),
    ],
)
def test_a_name_that_stands_twice(host: Hosted, method: str, params: bytes, name: str) -> None:
    host.say(b'{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}\n' % (method.encode(), params))
    code, data = host.error(1)
    assert code == -32001
    assert data["problem"] == f"'{name}' stands twice in one object of the JSON"


def test_a_notification_is_refused(host: Hosted) -> None:
    host.tell("annotate", annotate_params())
    assert host.error(None)[0] == -32600


def test_cancelled_ones_leave(host: Hosted, room: EngineRoom, held: HeldAnalyses) -> None:
    host.ask(1, "annotate", annotate_params())
    assert held.reached.wait(60)
    host.ask(2, "annotate", annotate_params())
    until_waiting(room, 2)
    for request in (2, 1):  # the one that waits, and the one that is under way
        host.ask("stop", "cancel", {"id": request})
        assert host.error(request)[0] == -32004
        assert host.answer("stop")["result"] == {"cancelled": True}
        if request == 2:
            until_waiting(room, 1)
    held.open()
    until_waiting(room, 0)
    host.ask(1, "annotate", annotate_params())  # the id is free again
    assert len(host.answer(1)["result"]["cells"]) == 1


def test_who_leaves_is_not_waited_for(room: EngineRoom, held: HeldAnalyses) -> None:
    with Hosted(room) as host:
        host.initialize()
        host.ask(1, "annotate", annotate_params())
        assert held.reached.wait(60)
        host.ask(2, "explain", describe_params(counts(1)))
        until_waiting(room, 2)
    assert host.was_lost()
    until_waiting(room, 1)
    held.open()
    assert room.drain(60)


def test_an_id_under_way_is_not_taken_twice(host: Hosted, held: HeldAnalyses) -> None:
    host.ask(1, "annotate", annotate_params())
    host.ask(1, "describe", describe_params(counts(1)))
    assert host.error(None)[0] == -32600
    held.open()
    assert "labels" not in host.answer(1)["result"]


def test_too_many(room: EngineRoom, held: HeldAnalyses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    with Hosted(room, StdioOptions(requests=2)) as one, Hosted(room) as other:
        for host in (one, other):
            host.initialize()
        for request in (1, 2):
            one.ask(request, "annotate", annotate_params())
            until_waiting(room, request)
        one.ask(3, "annotate", annotate_params())  # of this conversation
        code, data = one.error(3)
        assert (code, data["problem"]) == (-32002, "2 requests are under way")
        other.ask(3, "annotate", annotate_params())  # of the service
        code, data = other.error(3)
        assert (code, data["problem"]) == (-32002, "2 analyses wait already")
        assert data["retry_after"] >= 1
        held.open()
        assert {one.line()["id"], one.line()["id"]} == {1, 2}


def test_shutdown_waits_for_them(host: Hosted, held: HeldAnalyses) -> None:
    host.ask(1, "annotate", annotate_params())
    assert held.reached.wait(60)
    host.ask(2, "shutdown")
    host.ask(3, "explain", describe_params(counts(1)))
    assert host.error(3)[0] == -32007
    held.open()
    assert len(host.answer(1)["result"]["cells"]) == 1
    assert host.answer(2)["result"] is None
    assert host.was_lost() is False


def test_a_bug_ends_nothing(
    host: Hosted, model: c2t.Model, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(model, "annotator", lambda *_: 1 / 0)
        host.ask(1, "annotate", annotate_params())
        assert host.error(1)[0] == -32603
    assert "ZeroDivisionError" in caplog.text
    host.ask(1, "annotate", annotate_params())
    assert len(host.answer(1)["result"]["cells"]) == 1
