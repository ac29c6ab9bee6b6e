"""`c2t serve --audit`: every door's lines in one trail, and a trail that cannot be used."""

from __future__ import annotations

import json
import os
import secrets
import socket
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from audit_cases import Files
from cli_process import run_c2t
from serve_cells import counted_cells, counts
from serve_process import Served, served

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.serve.room.messages import DescribeRequest

TOKEN = "a-token-of-this-test-0123456789"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.new(tmp_path / "audit")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def audit_options(files: Files) -> tuple[object, ...]:
    return "--audit", files.trail, "--audit-key", files.key, "--audit-head", files.head


def request_of(cells: int) -> bytes:
    return msgspec.json.encode(DescribeRequest(cells=counted_cells(counts(cells))))


def lines_of(files: Files) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files.trail.read_bytes().splitlines()]


def ask_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        with peer.makefile("rb") as reader:
            for number, method, params in (
                (1, b"initialize", b'{"protocol": 1}'),
                (2, b"describe", request_of(2)),
            ):
                message = b'{"jsonrpc": "2.0", "id": %d, "method": "%s", "params": %s}\n'
                peer.sendall(message % (number, method, params))
                assert "result" in json.loads(reader.readline())


def stop(service: Served) -> None:
    service.signal()
    assert service.wait() == 0


def test_all_that_a_service_does_is_in_its_trail(
    tiny_bundle_folder: Path, tmp_path: Path, files: Files, token_file: Path
) -> None:
    path = tmp_path / "socket"
    options = ("--token-file", token_file, "--socket", path, *audit_options(files))
    with served(tiny_bundle_folder, tmp_path, *options) as service:
        url = service.wait_for(r"HTTP and the page are at (http://\S+)")
        service.wait_for(r"(ready after)")
        good = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=JSON) as client:
            assert client.post("/v1/describe", content=request_of(2)).status_code == 401
            answer = client.post("/v1/describe", content=request_of(2), headers=good)
            assert answer.status_code == 200
            answer = client.post("/v1/describe", content=b"{", headers=good)
            assert answer.status_code == 400
            answer = client.post("/v1/jobs", content=request_of(3), headers=good)
            assert answer.status_code == 202
            job = answer.headers["Location"]
            while client.get(job, headers=good).json()["state"] not in ("done", "failed"):
                pass
            assert client.get(job, headers=good).json()["state"] == "done"
            assert client.delete(job, headers=good).status_code == 204
        ask_socket(path)
        stop(service)
    lines = lines_of(files)
    assert [line["action"] for line in lines[:2]] == ["configuration", "start"]
    assert [line["action"] for line in lines[2:]].count("request") == 3
    by = {line["action"]: line for line in lines}
    assert by["login"]["who"]["asked_by"] == "HTTP, 127.0.0.1"
    assert by["login"]["details"]["problem"] == "the request has no token"
    assert by["refuse"]["who"]["asked_by"] == "HTTP, 127.0.0.1 with the token"
    assert by["remove"]["who"]["asked_by"] == "HTTP, 127.0.0.1 with the token"
    asked = [line["who"].get("asked_by", "") for line in lines if line["action"] == "request"]
    assert asked[:2] == ["HTTP, 127.0.0.1 with the token"] * 2
    assert asked[2] == f"a Unix socket, process {os.getpid()} of user {os.getuid()}"
    assert lines[-1]["action"] == "stop"
    assert lines[-1]["details"]["result"] == "stopped"
    assert lines[0]["details"]["settings"]["HTTP lets in"] == "who has the token"
    assert TOKEN not in files.trail.read_text()
    assert not files.check().faults


@pytest.mark.slow
def test_other_settings_are_told_with_those_before_and_the_reason(
    tiny_bundle_folder: Path, tmp_path: Path, files: Files
) -> None:
    reason = ("--audit-reason", "more memory")
    for size, why in ((2, ()), (2, ()), (4, reason)):
        options = ("--batch-size", size, "--no-http", "--socket", tmp_path / "s")
        with served(tiny_bundle_folder, tmp_path, *options, *why, *audit_options(files)) as service:
            service.wait_for(r"(ready after)")
            stop(service)
    first, second = (line for line in lines_of(files) if line["action"] == "configuration")
    assert first["details"]["settings"]["batch_size"] == "2"
    assert second["details"]["changes"] == {"batch_size": {"previous": "2", "new": "4"}}
    assert second["details"]["reason"] == "more memory"


def test_a_killed_service_leaves_a_trail_that_is_right(
    tiny_bundle_folder: Path, tmp_path: Path, files: Files
) -> None:
    with served(tiny_bundle_folder, tmp_path, *audit_options(files)) as service:
        url = service.wait_for(r"HTTP and the page are at (http://\S+)")
        service.wait_for(r"(ready after)")
        answer = httpx.post(f"{url}/v1/describe", content=request_of(2), headers=JSON)
        service.process.kill()
        service.wait()
    assert answer.status_code == 200
    assert not files.check().faults
    assert lines_of(files)[-1]["action"] == "request"


def test_a_service_does_not_start_with_a_trail_that_cannot_be_used(
    tiny_bundle_folder: Path, tmp_path: Path, files: Files
) -> None:
    ended = run_c2t(
        *("serve", tiny_bundle_folder, "--port", 0, "--jobs-folder", tmp_path / "jobs"),
        *("--audit", tmp_path / "nowhere" / "trail", "--audit-key", files.key),
        *("--audit-head", files.head),
    )
    assert ended.returncode == 1
    assert "error: cannot write" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("doors", [("--port", "0", "--jobs-folder", "JOBS"), ("--stdio",)])
@pytest.mark.parametrize("key", [secrets.token_hex(32), "no key"], ids=["another", "none"])
def test_a_trail_of_another_key_is_refused_in_two_lines(
    tiny_bundle_folder: Path, tmp_path: Path, files: Files, doors: tuple[str, ...], key: str
) -> None:
    with files.open() as trail:
        trail.record(Action.start, Details(scope="serve"))
    content = files.trail.read_bytes(), files.head.read_bytes()
    files.key.write_text(key)
    jobs = tmp_path / "jobs"
    words = [str(jobs) if word == "JOBS" else word for word in doors]
    ended = run_c2t("serve", tiny_bundle_folder, *words, *audit_options(files))
    assert (ended.returncode, ended.stdout) == (1, "")
    lines = ended.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
    assert (files.trail.read_bytes(), files.head.read_bytes()) == content
    assert not jobs.exists()


def test_a_service_that_cannot_start_says_so_in_its_trail(
    tiny_bundle_folder: Path, tmp_path: Path, files: Files
) -> None:
    ended = run_c2t(
        *("serve", tiny_bundle_folder, "--host", "0.0.0.0", "--jobs-folder", tmp_path / "jobs"),
        *audit_options(files),
    )
    assert ended.returncode == 1
    (line,) = lines_of(files)
    assert line["action"] == "refuse"
    assert "without a token" in line["details"]["problem"]


def test_a_service_of_a_parent_process_has_its_trail(
    tiny_bundle_folder: Path, tmp_path: Path, files: Files
) -> None:
    service = Served(tiny_bundle_folder, "--stdio", *audit_options(files), stdio=True)
    assert service.process.stdin is not None
    assert service.process.stdout is not None
    with service.process.stdin as sink, service.process.stdout as source:
        sink.write(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocol":1}}\n')
        sink.write(b'{"jsonrpc":"2.0","id":2,"method":"describe","params":%s}\n' % request_of(1))
        sink.close()
        assert b'"result"' in source.read()
    assert service.wait() == 0
    assert service.process.stderr is not None
    service.process.stderr.close()
    lines = lines_of(files)
    assert [line["action"] for line in lines] == ["configuration", "start", "request", "stop"]
    assert lines[2]["who"]["asked_by"] == "standard input"
