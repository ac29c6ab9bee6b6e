"""What is said over standard input and output: answers, refusals, the end."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from broken_bytes import broken
from serve_cells import counts, described
from stdio_peer import Hosted, describe_params

import c2t
from c2t.runtime.serve.room.messages import DescribeResponse
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.conversation import StdioOptions


@pytest.fixture
def host(room: EngineRoom):
    with Hosted(room) as host:
        yield host


def response(message: dict[str, Any]) -> DescribeResponse:
    return msgspec.convert(message["result"], DescribeResponse)


def test_initialize_says_what_is_served(host: Hosted, room: EngineRoom) -> None:
    result = host.initialize()
    bundle = room.model.bundle
    assert result["protocol"] == 1
    assert (result["server"], result["version"]) == ("c2t", c2t.__version__)
    assert result["bundle"]["digest"] == bundle.digest
    assert result["bundle"]["name"] == bundle.manifest.name
    assert result["limits"] == {"line_bytes": 32 << 20, "requests": 256}


def test_texts_are_those_of_describe(host: Hosted, room: EngineRoom) -> None:
    values = counts(12)
    host.initialize()
    host.ask(1, "describe", describe_params(values))
    assert response(host.answer(1)).cells == described(room.model, values)


def test_names_and_settings(host: Hosted, room: EngineRoom) -> None:
    params = describe_params(counts(2), settings={"max_new_tokens": 2, "num_beams": 2})
    params["cells"][0]["id"] = "Zelle é"
    del params["cells"][1]["id"]
    host.initialize()
    host.ask("a", "describe", params)
    assert [cell.cell for cell in response(host.answer("a")).cells] == ["Zelle é", "1"]


def test_pieces_put_together_are_the_text(host: Hosted, room: EngineRoom) -> None:
    values = counts(5)
    texts, done, told = [""] * 5, {}, []
    host.initialize()
    host.ask(7, "describe", describe_params(values, stream=True))
    while "method" in (message := host.line()):
        params = message["params"]
        assert params["id"] == 7
        if message["method"] == "text":
            texts[params["cell"]] = texts[params["cell"]][: params["start"]] + params["text"]
        elif message["method"] == "cell":
            done[params["cell"]] = params["result"]
        else:
            assert message["method"] == "progress"
            assert params["cells"] == 5
            told.append(params["done"])
    assert message["id"] == 7
    assert [done[n] for n in range(5)] == message["result"]["cells"]
    assert texts == [cell["text"] for cell in message["result"]["cells"]]
    assert response(message).cells == described(room.model, values)
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] == 5


def test_requests_are_answered_as_they_finish(host: Hosted, room: EngineRoom, gate) -> None:
    host.initialize()
    host.ask("long", "describe", describe_params(counts(9)))
    assert gate.reached.wait(60)
    host.ask("wrong", "describe", {"cells": []})
    assert host.error("wrong")[0] == -32602
    gate.open()
    host.ask("short", "describe", describe_params(counts(1), settings={"max_new_tokens": 1}))
    answers = {host.line()["id"], host.line()["id"]}
    assert answers == {"long", "short"}


def test_initialize_comes_first(host: Hosted) -> None:
    host.ask(1, "describe", describe_params(counts(1)))
    assert host.error(1)[0] == -32005
    host.ask(2, "initialize", {"protocol": 2})
    code, data = host.error(2)
    assert code == -32602
    assert "protocol 2" in data["problem"]
    host.initialize()
    host.ask(3, "initialize", {"protocol": 1})
    assert host.error(3)[0] == -32600


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b"{", -32700, None),
        (b"no json", -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"describe","params":{}', -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700, None),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"describe","params":{"cells":[{"id":"\xff"}]}}',
            -32700,
            1,
        ),
        (b"[" * 100_000, -32600, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"describe","params":' + b"[" * 100_000, -32700, None),
        (b'{"a":' * 100_000, -32600, None),
        (b"[]", -32600, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"shutdown"}]', -32600, None),
        (b"3", -32600, None),
        (b"null", -32600, None),
        (b"{}", -32600, None),
        (b'{"id":4,"method":"shutdown"}', -32600, 4),
        (b'{"jsonrpc":"1.0","id":"five","method":"shutdown"}', -32600, "five"),
        (b'{"jsonrpc":"2.0","id":6}', -32600, 6),
        (b'{"jsonrpc":"2.0","id":6,"result":1}', -32600, 6),
        (b'{"jsonrpc":"2.0","id":7,"method":3}', -32600, 7),
        (b'{"jsonrpc":"2.0","id":null,"method":"shutdown"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"shutdown"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":{},"method":"shutdown"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":99999999999999999999,"method":"shutdown"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 257 + b'","method":"shutdown"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":8,"method":"shutdown","parms":{}}', -32600, 8),
        (b'{"jsonrpc":"2.0","id":9,"method":"shout"}', -32601, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":"' + b"x" * 9999 + b'"}', -32601, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":"describe"}', -32602, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":"describe","params":[]}', -32602, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":"describe","params":{"cells":[]}}', -32602, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":"cancel","params":{"id":null}}', -32602, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":"shutdown","params":{"now":1}}', -32602, 9),
        (b'{"jsonrpc":"2.0","method":"describe","params":{"cells":[]}}', -32600, None),
    ],
)
def test_wrong_lines(host: Hosted, line: bytes, code: int, request_id: object) -> None:
    host.initialize()
    host.say(line + b"\n")
    found, data = host.error(request_id)
    assert found == code
    assert len(data["problem"]) < 1000
    host.ask("after", "describe", describe_params(counts(1)))
    assert len(response(host.answer("after")).cells) == 1


@pytest.mark.parametrize(
    ("change", "code", "part"),
    [
        ({"settings": {"num_beams": 0}}, -32602, "num_beams"),
        ({"settings": {"beams": 1}}, -32602, "beams"),
        ({"strem": True}, -32602, "strem"),
        ({"cells": [{"counts": {"ENSG00000000001": -1}}]}, -32602, ">= 0"),
        ({"cells": [{"counts": {"nothing": 1, "known": 2}}]}, -32001, ""),
    ],
)
def test_wrong_params(host: Hosted, change: dict[str, Any], code: int, part: str) -> None:
    host.initialize()
    host.ask(1, "describe", {**describe_params(counts(2)), **change})
    found, data = host.error(1)
    assert found == code
    assert part in data["problem"]


def test_a_gene_that_is_named_twice(host: Hosted) -> None:
    host.initialize()
    head = '{"jsonrpc":"2.0","id":1,"method":"describe","params":{"cells":[{"counts":'
    host.say(f'{head}{{"A":1,"A":2}}}}]}}}}\n'.encode())
    code, data = host.error(1)
    assert code == -32001
    assert data["problem"] == "'A' stands twice in one object of the JSON"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none(host: Hosted, value: str) -> None:
    host.initialize()
    head = '{"jsonrpc":"2.0","id":1,"method":"describe","params":{"cells":[{"counts":{"A":'
    host.say(f"{head}{value}}}}}]}}}}\n".encode())
    message = host.line()
    assert message["error"]["code"] in (-32700, -32602)


def test_unknown_notifications_have_no_answer(host: Hosted) -> None:
    host.initialize()
    host.tell("shout", {})
    host.tell("cancel", {"id": "nobody"})
    host.ask(2, "cancel", {"id": "nobody"})
    assert host.answer(2)["result"] == {"cancelled": False}


def test_long_lines_are_skipped(room: EngineRoom) -> None:
    with Hosted(room, StdioOptions(line_bytes=20_000)) as host:
        assert host.initialize()["limits"]["line_bytes"] == 20_000
        host.say(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 300_000)
        assert host.error(None)[0] == -32006
        host.say(b'"}\n')
        host.ask(2, "describe", describe_params(counts(1)))
        assert len(response(host.answer(2)).cells) == 1


def test_cancelled_cells_leave(host: Hosted, room: EngineRoom, gate) -> None:
    host.initialize()
    host.ask(1, "describe", describe_params(counts(40)))
    assert gate.reached.wait(60)
    assert room.waiting > 0
    host.ask(2, "cancel", {"id": 1})
    code, _ = host.error(1)
    assert code == -32004
    assert host.answer(2)["result"] == {"cancelled": True}
    assert room.waiting == 0
    gate.open()
    host.ask(1, "describe", describe_params(counts(1)))  # the id is free again
    assert len(response(host.answer(1)).cells) == 1


def test_an_id_under_way_is_not_taken_twice(host: Hosted, gate) -> None:
    host.initialize()
    host.ask(1, "describe", describe_params(counts(3)))
    assert gate.reached.wait(60)
    host.ask(1, "describe", describe_params(counts(2)))
    code, data = host.error(None)  # an error with this id would answer the first
    assert code == -32600
    assert "1" in data["problem"]
    gate.open()
    assert len(response(host.answer(1)).cells) == 3


def test_too_many_requests(room: EngineRoom, gate) -> None:
    with Hosted(room, StdioOptions(requests=2)) as host:
        host.initialize()
        for request in (1, 2, 3):
            host.ask(request, "describe", describe_params(counts(1)))
        code, data = host.error(3)
        assert code == -32002
        assert data["retry_after"] >= 1
        gate.open()
        assert {host.line()["id"], host.line()["id"]} == {1, 2}


def test_end_of_input_finishes_what_was_begun(host: Hosted, gate) -> None:
    host.initialize()
    host.ask(1, "describe", describe_params(counts(5)))
    host.end_input()
    assert gate.reached.wait(60)
    gate.open()
    assert len(response(host.answer(1)).cells) == 5
    assert host.line() is None
    assert host.was_lost() is False


def test_shutdown_is_answered_last(host: Hosted, gate) -> None:
    host.initialize()
    host.ask(1, "describe", describe_params(counts(5)))
    assert gate.reached.wait(60)
    host.ask(2, "shutdown")
    host.ask(3, "describe", describe_params(counts(1)))
    assert host.error(3)[0] == -32007
    gate.open()
    assert len(response(host.answer(1)).cells) == 5
    assert host.answer(2)["result"] is None
    assert host.line() is None
    assert host.was_lost() is False


def test_who_leaves_takes_the_cells_along(room: EngineRoom, gate) -> None:
    with Hosted(room) as host:
        host.initialize()
        host.ask(1, "describe", describe_params(counts(40), stream=True))
        assert gate.reached.wait(60)
    assert host.was_lost()  # while its cells are being written
    end = time.monotonic() + 60
    while room.waiting and time.monotonic() < end:
        time.sleep(0.01)
    assert room.waiting == 0
    assert room.drain(60)


def test_slow_reader_holds_up_nobody(room: EngineRoom) -> None:
    """One host reads nothing: its texts are coalesced, and another is answered meanwhile."""
    with Hosted(room) as slow, Hosted(room) as quick:
        slow.initialize()
        quick.initialize()
        for request in range(10):
            slow.ask(request, "describe", describe_params(counts(10), stream=True))
        for request in range(5):
            quick.ask(request, "describe", describe_params(counts(1)))
            assert len(response(quick.answer(request)).cells) == 1
        assert room.drain(60)
        texts, answers = 0, set()
        while len(answers) < 10:
            message = slow.line()
            if message.get("method") == "text":
                texts += 1
            elif "result" in message:
                answers.add(message["id"])
        # Had each piece been kept, there would be one a token.
        assert texts < 10 * 10 * 3


def test_reading_stops_where_answers_are_not_read(room: EngineRoom) -> None:
    with Hosted(room, StdioOptions(unsent=4)) as host:
        host.initialize()
        host.connection.settimeout(1)
        calls = b'{"jsonrpc":"2.0","id":1,"method":"shout"}\n' * 100_000
        with pytest.raises(TimeoutError):
            host.say(calls)
        host.connection.settimeout(60)
        assert host.line()["error"]["code"] == -32601


def test_bug_ends_nothing(
    host: Hosted, room: EngineRoom, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    host.initialize()
    with monkeypatch.context() as patch:
        patch.setattr(room, "describe", lambda *args, **more: 1 / 0)
        host.ask(1, "describe", describe_params(counts(1)))
        assert host.error(1)[0] == -32603
    assert "ZeroDivisionError" in caplog.text
    host.ask(1, "describe", describe_params(counts(1)))
    assert len(response(host.answer(1)).cells) == 1


def test_many_requests_from_many_hosts(room: EngineRoom) -> None:
    values = [counts(3, seed) for seed in range(4)]
    expected = [described(room.model, value) for value in values]
    hosts = [Hosted(room) for _ in values]
    try:
        for host in hosts:
            host.initialize()
        for round_ in range(5):
            for host, value in zip(hosts, values, strict=True):
                host.ask(round_, "describe", describe_params(value))
        for host, cells in zip(hosts, expected, strict=True):
            answers = {}
            for _ in range(5):
                message = host.line()
                answers[message["id"]] = response(message).cells
            assert answers == dict.fromkeys(range(5), cells)
    finally:
        for host in hosts:
            host.__exit__()


@pytest.mark.parametrize("seed", range(4))
def test_broken_lines(host: Hosted, seed: int) -> None:
    """Whatever a line is: it is answered or passed over, and the next is heard."""
    generator = random.Random(seed)
    host.initialize()
    call = {"jsonrpc": "2.0", "id": 1, "method": "describe", "params": describe_params(counts(1))}
    for number in range(100):
        line = broken(generator, json.dumps(call).encode())
        host.say(line.replace(b"shutdown", b"") + b"\n")
        host.ask(f"mark {number}", "cancel", {"id": "nobody"})
        while (message := host.line()) is not None:
            if message.get("id") == f"mark {number}":
                break
        assert message is not None
    host.ask("last", "shutdown")
    assert list(host.rest())[-1] == {"jsonrpc": "2.0", "id": "last", "result": None}


def test_lines_are_compact_json(host: Hosted) -> None:
    host.initialize()
    host.ask(1, "describe", describe_params(np.eye(2, 60) * 3))
    line = host._lines.readline()
    assert json.dumps(json.loads(line), separators=(",", ":"), ensure_ascii=False).encode() == (
        line.rstrip(b"\n")
    )
