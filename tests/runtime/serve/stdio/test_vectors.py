"""Cells embedded, searched and annotated over JSON-RPC, by a bundle that writes no texts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from serve_cells import counted_cells, counts
from stdio_peer import Hosted, Talk, describe_params
from tiny_data import JOINT, SENTENCES

import c2t
from c2t.runtime.serve.room.analysis_messages import AnnotateRequest
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.room.vector_messages import EmbedRequest, SearchRequest
from c2t.runtime.serve.room.vectors import VectorAnalyses
from c2t.runtime.serve.stdio.unix_socket import SocketDoor

TEXTS = ["activated T cells", "a monocyte"]
LABELS = ["T cell", "B cell"]


@pytest.fixture(scope="module")
def joint() -> Iterator[EngineRoom]:
    with c2t.open(JOINT) as model:
        room = EngineRoom(model)
        yield room
        room.close()


@pytest.fixture
def host(joint: EngineRoom) -> Iterator[Hosted]:
    with Hosted(joint) as host:
        assert host.initialize()["bundle"]["tasks"] == ["embed", "search", "annotate"]
        yield host


def test_vectors_are_those_of_the_room(host: Hosted, joint: EngineRoom) -> None:
    values = counts(3)
    values[1] = 0  # a cell that has none
    host.ask(1, "embed", describe_params(values))
    found = host.answer(1)["result"]
    request = EmbedRequest(cells=counted_cells(values))
    assert found == msgspec.to_builtins(VectorAnalyses(joint.analyses).embed(request))
    assert [cell["error"] is None for cell in found["cells"]] == [True, False, True]
    assert abs(sum(x * x for x in found["cells"][0]["joint"]) - 1) < 1e-5
    assert found["cells"][1]["embedding"] is None


def test_scores_are_those_of_the_room(host: Hosted, joint: EngineRoom) -> None:
    values = counts(3)
    host.ask("s", "search", describe_params(values, texts=TEXTS))
    found = host.answer("s")["result"]
    request = SearchRequest(cells=counted_cells(values), texts=TEXTS)
    assert found == msgspec.to_builtins(VectorAnalyses(joint.analyses).search(request))
    assert [len(cell["scores"]) for cell in found["cells"]] == [2, 2, 2]


def test_labels_are_compared_in_the_joint_space(host: Hosted, joint: EngineRoom) -> None:
    values = counts(3)
    host.ask(1, "annotate", describe_params(values, labels=LABELS))
    found = host.answer(1)["result"]
    request = AnnotateRequest(cells=counted_cells(values), labels=LABELS)
    assert found == msgspec.to_builtins(joint.analyses.annotate(request))
    assert {cell["label"] for cell in found["cells"]} <= set(LABELS)


def test_a_unix_socket_answers_the_same(joint: EngineRoom, tmp_path: Path) -> None:
    request = SearchRequest(cells=counted_cells(counts(2)), texts=TEXTS)
    wanted = msgspec.to_builtins(VectorAnalyses(joint.analyses).search(request))
    with SocketDoor(joint, tmp_path / "c2t.sock"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(tmp_path / "c2t.sock"))
        with Talk(connection) as talk:
            talk.initialize()
            talk.ask(1, "search", describe_params(counts(2), texts=TEXTS))
            assert talk.answer(1)["result"] == wanted


@pytest.mark.parametrize(
    ("method", "more"),
    [("describe", {}), ("explain", {}), ("ask", {"question": "What is it?"})],
)
def test_what_a_joint_space_cannot_do_is_refused(
    host: Hosted, method: str, more: dict[str, Any]
) -> None:
    host.ask(1, method, describe_params(counts(1), **more))
    code, data = host.error(1)
    assert code == -32602
    assert f"(cellwhisperer) cannot {method}" in data["problem"]
    assert "search" in data["hint"]


@pytest.mark.parametrize(
    ("method", "more"), [("explain", {}), ("embed", {}), ("search", {"texts": TEXTS})]
)
def test_what_gene_sentences_cannot_do_is_refused(method: str, more: dict[str, Any]) -> None:
    with c2t.open(SENTENCES) as model:
        room = EngineRoom(model)
        with Hosted(room) as host:
            host.initialize()
            host.ask(1, method, describe_params(counts(1), **more))
            code, data = host.error(1)
        room.close()
    assert code == -32602
    assert f"(cell2sentence) cannot {method}" in data["problem"]


@pytest.mark.parametrize(
    ("method", "more", "code", "part"),
    [
        ("search", {}, -32602, "texts"),
        ("search", {"texts": []}, -32602, "texts"),
        ("search", {"texts": ["same", "same"]}, -32602, "there twice"),
        ("search", {"texts": [" "]}, -32602, "is empty"),
        ("embed", {"texts": TEXTS}, -32602, "texts"),
        ("embed", {"stream": True}, -32602, "stream"),
        ("embed", {"cells": [{"counts": {"nothing": 1}}]}, -32001, ""),
    ],
)
def test_wrong_params(
    host: Hosted, method: str, more: dict[str, Any], code: int, part: str
) -> None:
    host.ask(1, method, {**describe_params(counts(1)), **more})
    found, data = host.error(1)
    assert found == code
    assert part in data["problem"]


def test_a_gene_that_stands_twice(host: Hosted) -> None:
    params = b'{"cells":[{"counts":{"A":1,"A":2}}]}'
    host.say(b'{"jsonrpc":"2.0","id":1,"method":"embed","params":%s}\n' % params)
    code, data = host.error(1)
    assert code == -32001
    assert data["problem"] == "'A' stands twice in one object of the JSON"
