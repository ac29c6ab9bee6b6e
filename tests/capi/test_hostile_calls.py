"""`c2t_call` of a service that lies or speaks garbage: it returns, with a code or what was said."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from capi_programs import CHECKS
from lying_service import (
    LOST,
    PROTOCOL,
    TIMEOUT,
    answering,
    fuzzing,
    greet,
    line,
    result,
    service,
    told,
)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda n: line(id=n, result={}), PROTOCOL),
        (lambda n: line(id=n, result=result(1)), PROTOCOL),
        (lambda n: line(id=n, result={"cells": {"a": 1, "b": 2}}), PROTOCOL),
        (lambda n: line(id=n, result=[]), PROTOCOL),
        (lambda n: line(id=n, error={"code": -32601, "message": "no method"}), "-12 no method"),
        (lambda n: line(id=n, error={"code": -32002, "message": "much"}), "-9 much"),
        (lambda n: line(method="text", params={"id": n, "cell": 9, "start": 9}), TIMEOUT),
    ],
)
def test_answers_to_a_call(build, run_checks, answer: Callable[[int], bytes], code: str) -> None:
    with service(answering(answer)) as path:
        done = run_checks(
            build(CHECKS), "hostile", "socket", path, PATIENCE="0.7", METHOD="annotate"
        )
    (called,) = told(done, "call")
    assert called.startswith(f"call {code}"), called


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"answers": [{}, {}]}, "0 {"),
        ({"answers": [{}]}, "0 {"),  # about both cells together
        ({"answers": []}, PROTOCOL),
        ({"answers": [{}, {}, {}]}, PROTOCOL),
        ({"cells": [{}, {}]}, PROTOCOL),
    ],
)
def test_answers_to_a_question(build, run_checks, answer: dict[str, Any], code: str) -> None:
    with service(answering(lambda n: line(id=n, result=answer))) as path:
        done = run_checks(build(CHECKS), "hostile", "socket", path, PATIENCE="0.7", METHOD="ask")
    (called,) = told(done, "call")
    assert called.startswith(f"call {code}"), called


def test_a_call_gives_what_was_answered(build, run_checks) -> None:
    numbers = "[0.1,-0.0,1e-7,5E+30,9007199254740993,0]"
    strings = json.dumps(["é😀", '"\\/\b\f\n\r\t\x01\x7f', ""])  # escaped, so it shrinks
    said = f'{{"cells":[1,{{}}],"a":[{{"b":[[],null,true,false]}}],"é":{strings},"n":{numbers}}}'
    sent: list[Any] = []

    def script(connection: socket.socket, lines: Any) -> None:
        greet(connection, lines)
        sent.append(json.loads(lines.readline()))
        request = sent[0]["id"]
        connection.sendall(f'{{"jsonrpc":"2.0","result": {said} ,"id":{request}}}\n'.encode())
        lines.read()

    params = ' {"labels" : ["B cell",\n"T\\u0020cell"],\r\n"top":\t1.50, "x": {}}\n'
    with service(script) as path:
        done = run_checks(
            build(CHECKS), "hostile", "socket", path, METHOD="annotate", PARAMS=params
        )
    (called,) = told(done, "call")
    assert json.loads(called.removeprefix("call 0 ")) == json.loads(said)
    assert called.endswith(f'"n":{numbers}}}')
    assert sent[0]["method"] == "annotate"
    cells = sent[0]["params"].pop("cells")
    assert [cell["id"] for cell in cells] == ["cell0", "cell1"]
    assert sent[0]["params"] == {**json.loads(params), "settings": {}}


@pytest.mark.parametrize("seed", [7])
def test_broken_lines_after_a_call(build, run_checks, seed: int) -> None:
    with service(fuzzing(seed)) as path:
        done = run_checks(build(CHECKS), "hostile", "socket", path, ROUNDS="300", METHOD="annotate")
    codes = {words.split()[1] for words in told(done, "call")}
    assert {"0", PROTOCOL, LOST} & codes
