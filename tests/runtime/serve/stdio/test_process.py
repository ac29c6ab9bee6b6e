"""A process whose standard input and output are the protocol's alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serve_cells import counts
from stdio_peer import describe_params

SERVE = """
import ctypes, os, sys
import c2t
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.run import run_stdio
from c2t.runtime.serve.stdio.streams import protocol_streams

with protocol_streams() as (source, sink):
    print("a library talks")
    os.write(1, b"a library in C talks\\n")
    ctypes.CDLL(None).puts(b"and through a buffer")
    options = c2t.DescribeOptions(threads=1, engine="cpu")
    with c2t.open(sys.argv[1], options) as model:
        assert sys.stdin is None or sys.stdin.read() == ""
        room = EngineRoom(model)
        code = run_stdio(room, source, sink)
        room.close()
sys.exit(code)
"""


def start(bundle: Path, **more: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SERVE, str(bundle)],
        stdin=more.pop("stdin", subprocess.PIPE),
        stdout=more.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        **more,
    )


def requests() -> bytes:
    calls = [
        {"id": 1, "method": "initialize", "params": {"protocol": 1}},
        {"id": 2, "method": "describe", "params": describe_params(counts(3))},
    ]
    return b"".join(json.dumps({"jsonrpc": "2.0", **call}).encode() + b"\n" for call in calls)


def test_nothing_else_is_printed(tiny_bundle_folder: Path) -> None:
    with start(tiny_bundle_folder) as process:
        output, errors = process.communicate(requests(), timeout=60)
    answers = [json.loads(line) for line in output.splitlines()]
    assert [answer["id"] for answer in answers] == [1, 2]
    assert len(answers[1]["result"]["cells"]) == 3
    assert process.returncode == 0
    for said in (b"a library talks", b"a library in C talks", b"and through a buffer"):
        assert said in errors


def test_output_that_nobody_reads(tiny_bundle_folder: Path) -> None:
    with start(tiny_bundle_folder) as process:
        process.stdout.close()
        process.stdin.write(requests())
        process.stdin.flush()
        assert process.wait(60) == 141
        assert b"Traceback" not in process.stderr.read()


def test_streams_that_do_not_wait(tiny_bundle_folder: Path) -> None:
    """Some hosts give pipes of which a read returns at once."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with start(tiny_bundle_folder, stdin=ours) as process:
        os.close(ours)
        with os.fdopen(theirs, "wb") as writer:
            writer.write(requests())
            writer.flush()
            assert json.loads(process.stdout.readline())["id"] == 1
        assert json.loads(process.stdout.readline())["id"] == 2
        assert process.wait(60) == 0
        process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it(tiny_bundle_folder: Path, number: int) -> None:
    with start(tiny_bundle_folder) as process:
        process.stdin.write(requests())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(number)
        assert process.wait(60) != 0
        process.stdout.read()
        process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize(("closed", "name"), [("<&-", "input"), (">&-", "output")])
def test_closed_streams_are_named(tiny_bundle_folder: Path, closed: str, name: str) -> None:
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'exec "$0" -P -c "$1" "$2" {closed}',
            sys.executable,
            SERVE,
            str(tiny_bundle_folder),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert f"standard {name} is closed".encode() in done.stderr
