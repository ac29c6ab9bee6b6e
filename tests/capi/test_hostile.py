"""A service that lies, stutters, is silent or speaks garbage: every call returns, with a code."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from capi_programs import CHECKS
from lying_service import (
    HELLO,
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
    ("answers", "code"),
    [
        ([lambda n: line(id=n, result=result())], "0"),
        ([lambda n: line(id=n, result=result(1))], PROTOCOL),
        ([lambda n: line(id=n, result=result(3))], PROTOCOL),
        ([lambda n: line(id=n, result={})], PROTOCOL),
        ([lambda n: line(id=n, result=None)], PROTOCOL),
        ([lambda n: line(id=n)], PROTOCOL),
        ([lambda n: line(id=n, result=result(), error={"code": 1, "message": "x"})], PROTOCOL),
        ([lambda n: line(id=n + 1, result=result())], PROTOCOL),
        ([lambda n: line(id=str(n), result=result())], PROTOCOL),
        ([line(id=None, error={"code": -32700, "message": "parse"})], "-12"),
        ([b"garbage\n"], PROTOCOL),
        ([b"\n"], PROTOCOL),
        ([b"\x00\n"], PROTOCOL),
        ([b"\xff\xfe\n"], PROTOCOL),
        ([b"[" * 1000 + b"\n"], PROTOCOL),
        ([b'{"a":' * 1000 + b"\n"], PROTOCOL),
        ([b"x" * 200_000], PROTOCOL),
        ([b"[" + b"0," * 40_000 + b"0]\n"], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b'"2.0"', b'"1.0"')], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b"text", b"te\\u0000t")], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b"text", b"te\\ud800t")], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b"text", b"te\xfft")], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b"0.12345", b"01")], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b"0.12345", b"1e999")], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b"0.12345", b"NaN")], PROTOCOL),
        ([lambda n: line(id=n, result=result()).replace(b'"a"', b'"a","cell":"b"', 1)], PROTOCOL),
        ([lambda n: line(id=n, error={"code": -32002, "message": "much", "data":
            {"problem": "too much", "hint": "wait", "retry_after": 7}})], "-9 too much | wait | 7"),
        ([lambda n: line(id=n, error={"code": -32001, "message": "cells"})], "-8 cells"),
        ([lambda n: line(id=n, error={"code": -32003, "message": "engine"})], "-10 engine"),
        ([lambda n: line(id=n, error={"code": -32603, "message": "a bug"})], "-12 a bug"),
        ([lambda n: line(id=n, error={"code": "x"})], "-12"),
        ([lambda n: line(id=n, error={"code": 1, "message": "m" * 5000})], "-12 mmm"),
        ([lambda n: line(id=n, error={"code": 1, "message": "two\nlines"})], "-12 two lines"),
        ([lambda n: line(method="text", params={"id": n, "cell": 2, "start": 0, "text": ""})],
            PROTOCOL),
        ([lambda n: line(method="text", params={"id": n, "cell": 0, "start": 1, "text": ""})],
            PROTOCOL),
        ([lambda n: line(method="text", params={"id": n, "cell": -1, "start": 0, "text": ""})],
            PROTOCOL),
        ([lambda n: line(method="text", params={"id": n, "cell": 0, "start": 0})], PROTOCOL),
        ([lambda n: line(method="cell", params={"id": n, "cell": 0})], PROTOCOL),
        ([lambda n: line(method="text", params={"id": n, "cell": 0, "start": 0, "text": "é" * 9000})
            for _ in range(1)], TIMEOUT),
        ([line(method="news", params={}), lambda n: line(id=n, result=result())], "0"),
        ([lambda n: line(method="text", params={"id": n, "cell": 0, "start": 0, "text": "é😀 "}),
            lambda n: line(method="text", params={"id": n, "cell": 0, "start": 2, "text": "x"}),
            lambda n: line(id=n, result=result())], "0"),
        ([lambda n: line(method="text", params={"id": 77, "cell": 9, "start": 9, "text": "x"}),
            lambda n: line(id=n, result=result())], "0"),
        ([], TIMEOUT),
    ],
)  # fmt: skip
def test_answers(build, run_checks, answers: list[Any], code: str) -> None:
    with service(answering(*answers)) as path:
        done = run_checks(build(CHECKS), "hostile", "socket", path, PATIENCE="0.7")
    assert told(done, "open") == ["open 0  | "]
    (described,) = told(done, "describe")
    assert described.startswith(f"describe {code}"), described


def test_flood_of_texts_is_bounded(build, run_checks) -> None:
    def flood(connection: socket.socket, lines: Any) -> None:
        greet(connection, lines)
        request = json.loads(lines.readline())["id"]
        for start in range(0, 10_000_000, 50_000):
            params = {"id": request, "cell": 0, "start": start, "text": "x" * 50_000}
            connection.sendall(line(method="text", params=params))

    with service(flood) as path:
        done = run_checks(build(CHECKS), "hostile", "socket", path)
    assert told(done, "describe")[0].startswith(f"describe {PROTOCOL}")


@pytest.mark.parametrize(
    ("said", "code", "part"),
    [
        (b"", LOST, "has closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", PROTOCOL, "HTTP/1.1 400"),
        (line(id=1, result={**HELLO, "protocol": 2}), PROTOCOL, "protocol 1"),
        (line(id=1, result={**HELLO, "server": "other"}), PROTOCOL, "protocol 1"),
        (line(id=1, error={"code": -32602, "message": "no"}), "-1", "no"),
        (line(id=None, error={"code": -32002, "message": "full"}), "-9", "full"),
    ],
)
def test_greetings(build, run_checks, said: bytes, code: str, part: str) -> None:
    def script(connection: socket.socket, lines: Any) -> None:
        lines.readline()
        connection.sendall(said)

    with service(script) as path:
        done = run_checks(build(CHECKS), "hostile", "socket", path)
    (opened,) = told(done, "open")
    assert opened.startswith(f"open {code} ")
    assert part in opened


def test_silence_at_the_start(build, run_checks) -> None:
    with service(lambda connection, lines: lines.read()) as path:
        done = run_checks(build(CHECKS), "hostile", "socket", path, PATIENCE="0.3")
    assert told(done, "open")[0].startswith(f"open {TIMEOUT}")


def test_service_that_does_not_read(build, run_checks) -> None:
    stop = threading.Event()

    def script(connection: socket.socket, lines: Any) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        greet(connection, lines)
        stop.wait(60)

    with service(script) as path:
        try:
            done = run_checks(build(CHECKS), "hostile", "socket", path, PATIENCE="0.5")
        finally:
            stop.set()
    assert told(done, "describe")[0].startswith(f"describe {TIMEOUT}")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 3", "-4 the service has ended (exit code 3) | open it again"),
        ("echo oh dear >&2; exit 1", "-4 the service has ended (exit code 1): oh dear"),
        (
            "printf 'log\\nerror: no bundle\\nhint: make one\\n' >&2; exit 1",
            "-4 the service has ended (exit code 1): no bundle | make one",
        ),
        ("printf 'half \\377 line' >&2; kill -9 $$", "-4 the service has ended (signal 9): half ?"),
        ("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1",
            "-4 the service has ended (exit code 1): xxx"),
        ("echo hello", "-5 what answers is no service of c2t: it said \"hello\""),
        ("exec 1>&- 0<&-; trap '' TERM; sleep 1", "-4 the service has ended ("),
        ("sleep 30", "-6 the service did not answer in time"),
        ("trap '' TERM; sleep 30 & wait; wait", "-6 the service did not answer in time"),
    ],
)  # fmt: skip
def test_children(build, run_checks, tmp_path: Path, body: str, said: str) -> None:
    child = tmp_path / "child"
    child.write_text(f"#!/bin/sh\n{body}\n")
    child.chmod(0o700)
    done = run_checks(build(CHECKS), "hostile", "bundle", "b", PATIENCE="2", C2T_COMMAND=str(child))
    (opened,) = told(done, "open")
    assert opened.startswith(f"open {said}"), opened


def test_program_that_is_not_there(build, run_checks, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    done = run_checks(build(CHECKS), "hostile", "bundle", "b", C2T_COMMAND=missing)
    assert told(done, "open")[0].startswith(f"open -3 cannot start {missing}: No such file")


@pytest.mark.parametrize("seed", range(2))
def test_broken_lines(build, run_checks, seed: int) -> None:
    with service(fuzzing(seed)) as path:
        done = run_checks(build(CHECKS), "hostile", "socket", path, ROUNDS="300")
    codes = {words.split()[1] for words in told(done, "describe")}
    assert {"0", PROTOCOL, LOST} & codes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 104))
def test_broken_lines_under_sanitizers(build, run_checks, seed: int) -> None:
    checks = build(CHECKS, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    with service(fuzzing(seed)) as path:
        done = run_checks(checks, "hostile", "socket", path, ROUNDS="3000")
    assert len(told(done, "open")) == 3000


def test_numbers_under_a_german_locale(build, run_checks, tmp_path: Path) -> None:
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("localedef cannot make de_DE")
    sent: list[Any] = []

    def script(connection: socket.socket, lines: Any) -> None:
        greet(connection, lines)
        sent.append(json.loads(lines.readline()))
        connection.sendall(line(id=sent[0]["id"], result=result(1)))
        lines.read()

    variables = {"LOCPATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8"}
    with service(script) as path:
        run_checks(build(CHECKS), "locale", "socket", path, **variables)
    params = sent[0]["params"]
    assert params["settings"] == {"min_coverage": 0.25}
    (cell,) = params["cells"]
    assert cell["id"] == 'a "cell"\n\\ \x7f é'
    assert list(cell["counts"].values()) == [
        *(1.5, 0.1, 1e-7, 1234567, 1e300, float(9007199254740993), 0, 5e-324),
    ]
