"""`c2t serve` as a whole: its doors in one process, what it refuses, and how it stops."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

import httpx
import msgspec
import pytest
from cli_process import C2T, ENVIRONMENT, run_c2t
from serve_cells import counted_cells, counts, described
from serve_process import served
from tiny_data import JOINT

import c2t
from c2t.runtime.serve.room.messages import CellResult, DescribeRequest

TOKEN = "a-token-of-this-test-0123456789"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def request_of(cells: int) -> bytes:
    return msgspec.json.encode(DescribeRequest(cells=counted_cells(counts(cells))))


def expected(bundle: Path, cells: int) -> list[CellResult]:
    with c2t.open(bundle) as model:
        return described(model, counts(cells))


def results(content: bytes) -> list[CellResult]:
    return msgspec.convert(json.loads(content)["cells"], list[CellResult])


def test_all_doors_of_one_process_give_the_texts_of_describe(
    tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    options = ("--socket", path, "--sila", "--sila-port", 0, "--sila-insecure")
    with served(tiny_bundle_folder, tmp_path, *options) as service:
        url = service.wait_for(r"HTTP and the page are at (http://\S+)")
        service.wait_for(r"SiLA 2 is at \S+, port (\d+), without TLS")
        service.wait_for(r"(ready after)")
        assert httpx.get(f"{url}/readyz").status_code == 200
        answer = httpx.post(
            f"{url}/v1/describe",
            content=request_of(5),
            headers={"Content-Type": "application/json"},
        )
        assert results(answer.content) == expected(tiny_bundle_folder, 5)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            reader = peer.makefile("rb")
            for number, method, params in (
                (1, b"initialize", b'{"protocol": 1}'),
                (2, b"describe", request_of(5)),
            ):
                peer.sendall(
                    b'{"jsonrpc": "2.0", "id": %d, "method": "%s", "params": %s}\n'
                    % (number, method, params)
                )
                line = json.loads(reader.readline())
                while "result" not in line:
                    line = json.loads(reader.readline())
            reader.close()
        assert results(json.dumps(line["result"]).encode()) == expected(tiny_bundle_folder, 5)
        service.signal()
        assert service.wait() == 0
        assert not path.exists()


def test_stdio_ends_with_its_input_and_prints_nothing_else(tiny_bundle_folder: Path) -> None:
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocol": 1}},
        {"jsonrpc": "2.0", "id": 2, "method": "describe", "params": json.loads(request_of(3))},
    ]
    ended = subprocess.run(
        [C2T, "serve", tiny_bundle_folder, "--stdio"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )
    assert ended.returncode == 0, ended.stderr
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    answer = next(line for line in answers if line.get("id") == 2)
    found = results(json.dumps(answer["result"]).encode())
    assert found == expected(tiny_bundle_folder, 3)


def test_stdio_serves_a_bundle_that_writes_no_texts() -> None:
    params = json.loads(request_of(2)) | {"texts": ["activated T cells"]}
    del params["settings"]
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocol": 1}},
        {"jsonrpc": "2.0", "id": 2, "method": "search", "params": params},
    ]
    ended = subprocess.run(
        [C2T, "serve", JOINT, "--stdio", "--threads", "1"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )
    assert ended.returncode == 0, ended.stderr
    answers = {line["id"]: line for line in map(json.loads, ended.stdout.splitlines())}
    assert [len(cell["scores"]) for cell in answers[2]["result"]["cells"]] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (
            ("--host", "0.0.0.0"),
            "without a token, everybody who reaches 0.0.0.0 could use the service",
            "give --token-file, or --insecure",
        ),
        (
            ("--host", "0.0.0.0", "--no-http", "--sila"),
            "SiLA 2 would let in everybody who reaches 0.0.0.0",
            "give --sila-client-authority, or --insecure",
        ),
        (("--no-http",), "no door is open", "leave out --no-http, or give --sila or --socket"),
        (("--stdio", "--sila"), "--stdio talks with the parent process alone", "second"),
        (("--token-file", "nowhere"), "nowhere", "make one"),
        (("--host", "256.0.0.1", "--insecure"), "cannot listen at 256.0.0.1", "--port"),
        (("--allow-folder", "nowhere"), "nowhere", ""),
        (("--batch-size", "1000000"), "batch_size is 1,000,000", "from 1 to 65,536"),
        (("--sila", "--sila-key", "nowhere"), "belong together", "give both"),
    ],
)
def test_what_cannot_be_is_refused_in_two_lines(
    tiny_bundle_folder: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    problem: str,
    hint: str,
) -> None:
    jobs = () if "--stdio" in arguments else ("--jobs-folder", tmp_path / "jobs", "--port", 0)
    ended = run_c2t("serve", tiny_bundle_folder, *arguments, *jobs, cwd=tmp_path)
    assert ended.returncode in (1, 2)
    lines = [line for line in ended.stderr.splitlines() if line.startswith(("error", "hint"))]
    assert len(lines) == 2, ended.stderr
    assert problem in lines[0]
    assert hint in lines[1]
    assert "Traceback" not in ended.stderr


def test_a_token_others_may_read_is_refused(tiny_bundle_folder: Path, token_file: Path) -> None:
    token_file.chmod(0o644)
    ended = run_c2t("serve", tiny_bundle_folder, "--token-file", token_file)
    assert ended.returncode == 1
    assert "others may read it" in ended.stderr
    assert "chmod 600" in ended.stderr


def test_a_taken_port_is_said(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_c2t(
            "serve", tiny_bundle_folder, "--port", port, "--jobs-folder", tmp_path / "jobs"
        )
    assert ended.returncode == 1
    assert f"cannot listen at 127.0.0.1, port {port}" in ended.stderr


def test_with_a_token_nobody_else_is_answered(
    tiny_bundle_folder: Path, tmp_path: Path, token_file: Path
) -> None:
    with served(tiny_bundle_folder, tmp_path, "--token-file", token_file) as service:
        url = service.wait_for(r"HTTP and the page are at (http://\S+)")
        service.wait_for(r"(ready after)")
        headers = {"Content-Type": "application/json"}
        for authorization in (None, "Bearer wrong-token-0123456789", f"Basic {TOKEN}"):
            more = {} if authorization is None else {"Authorization": authorization}
            answer = httpx.post(f"{url}/v1/describe", content=request_of(1), headers=headers | more)
            assert answer.status_code == 401
        good = headers | {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.post(f"{url}/v1/describe", content=request_of(1), headers=good)
        assert answer.status_code == 200
        assert TOKEN not in service.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_was_begun_end(
    tiny_bundle_folder: Path, tmp_path: Path, number: int
) -> None:
    with served(tiny_bundle_folder, tmp_path, "--threads", 1) as service:
        url = service.wait_for(r"HTTP and the page are at (http://\S+)")
        service.wait_for(r"(ready after)")
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(
                httpx.post(
                    f"{url}/v1/describe",
                    content=request_of(1000),
                    headers={"Content-Type": "application/json"},
                    timeout=60,
                )
            )

        asking = threading.Thread(target=ask)
        asking.start()
        while "c2t_queue_cells 0.0" in httpx.get(f"{url}/metrics").text:
            assert asking.is_alive()
        service.signal(number)
        service.wait_for(r"(stopping: what was begun is finished)")
        asking.join()
        assert answers[0].status_code == 200
        assert len(results(answers[0].content)) == 1000
        assert service.wait() == 0


def test_a_second_signal_ends_at_once(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    with served(tiny_bundle_folder, tmp_path, "--threads", 1) as service:
        url = service.wait_for(r"HTTP and the page are at (http://\S+)")
        service.wait_for(r"(ready after)")
        with socket.create_connection(tuple_of(url)) as peer:
            body = request_of(4000)
            head = f"POST /v1/describe HTTP/1.1\r\nHost: {url.removeprefix('http://')}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            peer.sendall(head.encode() + body)
            while "c2t_queue_cells 0.0" in httpx.get(f"{url}/metrics").text:
                pass
            service.signal()
            service.wait_for(r"(stopping: what was begun is finished)")
            service.signal()
            assert service.wait() == -signal.SIGTERM


def tuple_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)
