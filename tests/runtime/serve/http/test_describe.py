"""Cells over HTTP: the texts are those of `describe`, whatever the way they come."""

from __future__ import annotations

import threading

import httpx
import msgspec
import pytest
from decoder_gate import Gate
from http_service import EVENTS, JSON, Service, problem, sse, wait_until
from serve_cells import GENES, counted_cells, counts, described

from c2t.runtime.serve.room.messages import CellResult, DescribeRequest, DescribeResponse, Settings

CELL = {"counts": {GENES[3]: 5, GENES[8]: 2, GENES[20]: 1}}


def ask(service: Service, body: object, **headers: str) -> httpx.Response:
    content = msgspec.json.encode(body)
    return service.client.post("/v1/describe", content=content, headers={**JSON, **headers})


def decoded(answer: httpx.Response) -> DescribeResponse:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return msgspec.json.decode(answer.content, type=DescribeResponse)


@pytest.mark.parametrize("cells", [1, 3, 40])
def test_texts_are_those_of_describe(service: Service, cells: int) -> None:
    values = counts(cells)
    found = decoded(ask(service, DescribeRequest(cells=counted_cells(values))))
    assert found.cells == described(service.room.model, values)


def test_settings_are_those_of_describe(service: Service) -> None:
    values = counts(2)
    settings = Settings(max_new_tokens=5, num_beams=2, drafts=False)
    found = decoded(ask(service, DescribeRequest(cells=counted_cells(values), settings=settings)))
    options = service.room.describe_options(settings)
    assert found.cells == described(service.room.model, values, options)
    assert found.cells != described(service.room.model, values)


def test_many_clients_at_once(service: Service) -> None:
    values = counts(24)
    cells, expected = counted_cells(values), described(service.room.model, values)
    found: dict[int, list[CellResult]] = {}

    def client(number: int) -> None:
        part = slice(3 * number, 3 * number + 3)
        found[number] = decoded(ask(service, DescribeRequest(cells=cells[part]))).cells

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [cell for number in range(8) for cell in found[number]] == expected


@pytest.mark.parametrize("cells", [1, 7])
def test_events_put_together_are_the_texts(service: Service, cells: int) -> None:
    values = counts(cells, seed=1)
    answer = ask(service, DescribeRequest(cells=counted_cells(values)), **EVENTS)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    texts, results = [""] * cells, {}
    events = sse(answer.text)
    for name, data in events:
        if name == "text":
            assert data["start"] <= len(texts[data["cell"]])
            texts[data["cell"]] = texts[data["cell"]][: data["start"]] + data["text"]
        elif name == "cell":
            assert texts[data["cell"]] == (data["result"]["text"] or "")
            results[data["cell"]] = msgspec.convert(data["result"], CellResult)
    assert [results[cell] for cell in range(cells)] == described(service.room.model, values)
    assert events[-1] == ("done", {"cells": cells})


def test_a_bad_cell_has_an_error_and_the_others_texts(service: Service) -> None:
    cells = [CELL, {"counts": {}, "id": "empty"}, CELL]
    for headers in (JSON, EVENTS):
        answer = ask(service, {"cells": cells}, **headers)
        assert answer.status_code == 200
        if headers is JSON:
            found = decoded(answer).cells
        else:
            done = {d["cell"]: d["result"] for name, d in sse(answer.text) if name == "cell"}
            found = [msgspec.convert(done[cell], CellResult) for cell in range(3)]
        assert found[1].cell == "empty"
        assert found[1].text is None
        assert found[1].error
        assert found[0].text == found[2].text is not None
        assert [found[0].cell, found[2].cell] == ["0", "2"]


def test_warnings_come_along(service: Service) -> None:
    cell = {"counts": {**CELL["counts"], **{f"NOGENE{i}": 1 for i in range(3)}}}
    body = {"cells": [cell], "settings": {"min_coverage": 0}}
    warnings = decoded(ask(service, body)).warnings
    assert warnings
    events = sse(ask(service, body, **EVENTS).text)
    assert [data["warning"] for name, data in events if name == "warning"] == warnings


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"cells":[{"counts":{"A":-1}}]}', "$.cells[0].counts"),
        (b'{"cells":[{"counts":{"A":1}},{"counts":{"A":"x"}}]}', "$.cells[1].counts"),
        (b'{"cells":[{"counts":{"":1}}]}', "$.cells[0].counts"),
        (b'{"cells":[]}', "$.cells"),
        (b'{"cells":[{"counts":{"A":1},"ids":"a"}]}', "$.cells[0]"),
        (b'{"cells":[{"counts":{"A":1}}],"settings":{"num_beams":0}}', "$.settings.num_beams"),
        (b'{"cells":[{"counts":{"A":1e999}}]}', "$.cells[0].counts"),
        (b"{}", "cells"),
        (b"[]", "array"),
        (b'{"cells":[{"counts":{"A":null}}]}', "$.cells[0].counts"),
        (b'{"cells":[{"counts":{"A":1,"B":2,"A":3}}]}', "'A' stands twice"),
    ],
)
def test_a_violation_names_its_place(service: Service, body: bytes, place: str) -> None:
    answer = service.client.post("/v1/describe", content=body, headers=JSON)
    assert answer.status_code == 422
    assert place in problem(answer)["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"cells":[{"counts":{"A\xff":1}}]}',
        b'{"cells":[{"counts":{"A":NaN}}]}',
        b'{"cells":[{"counts":{"A":1}}]} more',
        b'\xef\xbb\xbf{"cells":[{"counts":{"A":1}}]}',
        b'{"cells":[{"counts":{"\\ud800":1}}]}',
    ],
)
def test_what_is_no_json_is_said_so(service: Service, body: bytes) -> None:
    answer = service.client.post("/v1/describe", content=body, headers=JSON)
    assert answer.status_code == 400
    assert "JSON" in problem(answer)["detail"]


def test_deep_nesting_is_no_fault_of_the_service(service: Service) -> None:
    deep = b"[" * 200_000
    for body in (deep, b'{"cells":' + deep, b'{"cells":[{"counts":{"A":' + deep):
        answer = service.client.post("/v1/describe", content=body, headers=JSON)
        assert answer.status_code in (400, 422)
        problem(answer)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_new_tokens": 1 << 20}, "positions"),
        ({"organism": "martian"}, "martian"),
    ],
)
def test_settings_that_cannot_be_are_an_input_error(
    service: Service, settings: dict[str, object], said: str
) -> None:
    answer = ask(service, {"cells": [CELL], "settings": settings})
    assert answer.status_code == 422
    assert said in problem(answer)["detail"]


def test_unknown_genes_are_an_input_error(service: Service) -> None:
    for headers in (JSON, EVENTS):
        answer = ask(service, {"cells": [{"counts": {"NOGENE1": 3, "NOGENE2": 1}}]}, **headers)
        assert answer.status_code == 422
        problem(answer)


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        ("*/*", "application/json"),
        ("application/*;q=0.5, text/html", "application/json"),
        ("text/event-stream;q=0.2, application/json;q=0.1", "text/event-stream"),
        ("text/event-stream;q=0, */*", "application/json"),
        ("TEXT/Event-Stream", "text/event-stream"),
        ("text/html", None),
        ("application/json;q=0", None),
        (";;q=,,", None),
    ],
)
def test_accept_chooses(service: Service, accept: str, sent: str | None) -> None:
    answer = ask(service, {"cells": [CELL]}, Accept=accept)
    if sent is None:
        assert answer.status_code == 406
        problem(answer)
    else:
        assert answer.headers["content-type"].startswith(sent)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
def test_other_bodies_are_refused(service: Service, headers: dict[str, str]) -> None:
    answer = service.client.post("/v1/describe", content=b"{}", headers=headers)
    assert answer.status_code == 415
    problem(answer)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_client_that_goes_takes_its_cells_along(
    service: Service, gate: Gate, accept: str
) -> None:
    """Those that wait leave at once, those that are written between two tokens."""
    values = counts(6)
    body = msgspec.json.encode(DescribeRequest(cells=counted_cells(values)))
    before = cancelled(service)
    sent = service.request(
        "POST /v1/describe HTTP/1.1",
        f"Content-Length: {len(body)}",
        f"Accept: {accept}",
        "Content-Type: application/json",
        body=body,
    )
    with service.connect() as connection:
        connection.sendall(sent)
        assert gate.reached.wait(60)
        wait_until(lambda: service.room.waiting == 4)  # a worker has two
    wait_until(lambda: service.room.waiting == 0)
    gate.open()
    wait_until(lambda: cancelled(service) == before + 6)
    found = decoded(ask(service, DescribeRequest(cells=counted_cells(values))))
    assert found.cells == described(service.room.model, values)


def cancelled(service: Service) -> float:
    labels = {"outcome": "cancelled"}
    return service.metrics.registry.get_sample_value("c2t_cells_total", labels) or 0.0


def test_unsure_cells_are_marked_as_by_describe(service: Service) -> None:
    """Random weights name no cell type, so no cell has a sure answer; without a threshold, none."""
    values = counts(3)
    plain = ask(service, DescribeRequest(cells=counted_cells(values)))
    assert all("unsure" not in cell for cell in plain.json()["cells"])
    settings = Settings(unsure_below=0.5)
    found = ask(service, DescribeRequest(cells=counted_cells(values), settings=settings))
    cells = found.json()["cells"]
    assert [(c["cell_type_probability"], c["unsure"]) for c in cells] == [(None, True)] * 3
    assert [c["text"] for c in cells] == [c["text"] for c in plain.json()["cells"]]


@pytest.mark.parametrize("below", ["auto", 1.5, "often"])
def test_thresholds_that_are_none_are_refused(service: Service, below: object) -> None:
    body = {"cells": [CELL], "settings": {"unsure_below": below}}
    answer = ask(service, body)
    assert answer.status_code == 422
    if below == "auto":
        assert "states no threshold for unsure cells" in answer.text
