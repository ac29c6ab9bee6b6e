"""Clients that are slow, lie, or speak no HTTP: each gets a problem, and nothing stays behind."""

from __future__ import annotations

import asyncio
import re
import socket
import time

import httpx
import msgspec
import pytest
from decoder_gate import Gate
from http_service import EVENTS, JSON, Service, problem, read_all, serving, wait_until
from serve_cells import GENES, counted_cells, counts

from c2t.runtime.serve.http.listen import ListenOptions, PatientProtocol
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.room.limits import RoomLimits
from c2t.runtime.serve.room.messages import DescribeRequest
from c2t.runtime.serve.room.room import EngineRoom

START = "POST /v1/describe HTTP/1.1"
TYPE = "Content-Type: application/json"
GOOD = b'{"cells":[{"counts":{"%s":3,"%s":1}}]}' % (GENES[0].encode(), GENES[7].encode())


@pytest.fixture(scope="module")
def strict(room: EngineRoom):
    """A service with small limits."""
    options = HttpOptions(
        body_bytes=2000, body_seconds=0.5, stalled_seconds=0.5, heartbeat_seconds=0.05
    )
    listen = ListenOptions(head_seconds=0.3, connections=8)
    with serving(room, options, listen=listen) as service:
        yield service


def status(answer: bytes) -> int:
    """The status of the first answer, which is a problem if it is an error."""
    head, _, body = answer.partition(b"\r\n\r\n")
    number = int(head.split(b" ", 2)[1])
    if number >= 400:
        assert b"content-type: application/problem+json" in head
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        assert msgspec.json.decode(body[:length])["status"] == number
    return number


def test_a_long_body_is_refused_before_it_is_read(strict: Service) -> None:
    with strict.connect() as connection:
        connection.sendall(strict.request(START, TYPE, "Content-Length: 2001"))
        assert status(read_all(connection)) == 413


def test_a_long_body_without_a_length_is_refused_while_it_is_read(strict: Service) -> None:
    chunk = b"400\r\n" + b" " * 0x400 + b"\r\n"
    with strict.connect() as connection:
        connection.sendall(strict.request(START, TYPE, "Transfer-Encoding: chunked"))
        connection.sendall(chunk)
        connection.sendall(chunk)
        assert status(read_all(connection)) == 413  # the end was never sent


def test_a_refused_client_may_send_on_and_gets_its_answer(strict: Service) -> None:
    answer = strict.client.post("/v1/describe", content=b" " * 5_000_000, headers=JSON)
    assert answer.status_code == 413
    assert "2,000" in problem(answer)["detail"]


def test_a_body_of_just_the_limit_is_taken(strict: Service) -> None:
    body = GOOD + b" " * (2000 - len(GOOD))
    assert strict.client.post("/v1/describe", content=body, headers=JSON).status_code == 200
    chunked = strict.client.post("/v1/describe", content=iter([body[:9], body[9:]]), headers=JSON)
    assert chunked.status_code == 200


def test_a_body_that_comes_too_slowly_ends_the_connection(strict: Service) -> None:
    with strict.connect() as connection:
        connection.sendall(strict.request(START, TYPE, "Content-Length: 100"))
        connection.sendall(b"{")
        assert status(read_all(connection)) == 408


def test_a_drip_of_bytes_does_not_stretch_the_time(strict: Service) -> None:
    with strict.connect() as connection:
        connection.sendall(strict.request(START, TYPE, "Content-Length: 1000"))
        connection.settimeout(0.05)
        answer, since = b"", time.monotonic()
        while not answer:
            assert time.monotonic() - since < 30
            connection.sendall(b" ")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300, 400),  # TLS
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 403),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 403),
        (b"GET /h\xe9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403),
        (b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    ],
)
def test_what_is_no_request_for_us(strict: Service, sent: bytes, expected: int) -> None:
    assert status(strict.raw(sent)) == expected


@pytest.mark.parametrize(
    "header",
    [
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: 5, 6",
        "Content-Length: " + "9" * 40,
        "Content-Length: 9\r\nContent-Length: 10",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "A: " + "a" * 70_000,
        "\r\n".join(f"A{number}: a" for number in range(9_000)),
    ],
    ids=lambda header: header[:30],
)
def test_bad_heads(strict: Service, header: str) -> None:
    answer = strict.raw(strict.request(START, TYPE, header))
    assert status(answer) in (400, 413)


def test_lengths_and_chunks_together_are_no_way_to_smuggle(strict: Service) -> None:
    """Whatever is taken for the body, the rest is never a second request."""
    hidden = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    headers = (TYPE, f"Content-Length: {len(hidden)}", "Transfer-Encoding: chunked")
    answer = strict.raw(strict.request(START, *headers, body=hidden))
    assert status(answer) == 400
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1


def test_heads_that_come_in_pieces_are_bounded(strict: Service) -> None:
    with strict.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        for _ in range(100):
            time.sleep(0.001)
            if not _takes(connection, b"a" * 1000):
                return
    pytest.fail("100 KB of a head were taken")


def _takes(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def test_requests_that_follow_each_other_at_once_are_answered_in_turn(service: Service) -> None:
    large = GOOD + b" " * 100_000
    one = service.request(START, TYPE, f"Content-Length: {len(large)}", body=large)
    one = one.replace(b"Connection: close\r\n", b"")
    answer = service.raw(one + one + service.request("GET /healthz HTTP/1.1"))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200", b"200"]


def test_a_client_that_would_upgrade_is_answered_as_it_asks(service: Service) -> None:
    """Java's own client offers HTTP/2 with its first request."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    sent = service.request(START, TYPE, *offer, f"Content-Length: {len(GOOD)}", body=GOOD)
    assert status(service.raw(sent)) == 200


def test_a_client_may_wait_before_it_sends_the_body(service: Service) -> None:
    with service.connect() as connection:
        headers = (
            TYPE,
            f"Content-Length: {len(GOOD)}",
            "Expect: 100-continue",
            "Connection: close",
        )
        connection.sendall(service.request(START, *headers))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(GOOD)
        assert status(read_all(connection)) == 200


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n{}\r\n", b"-1\r\n", b"2\r\n{}xx0\r\n\r\n", b"fffffffffffffffffffff\r\n"]
)
def test_bad_chunks(strict: Service, chunks: bytes) -> None:
    sent = strict.request(START, TYPE, "Transfer-Encoding: chunked", body=chunks)
    assert status(strict.raw(sent)) == 400


def test_a_client_that_sends_less_than_it_said_and_ends(strict: Service) -> None:
    before = under_way(strict)
    sent = strict.request(START, TYPE, "Content-Length: 1000", body=GOOD)
    assert strict.raw(sent, end=True) == b""
    wait_until(lambda: gone(strict) > 0)
    assert under_way(strict) == before


def test_heads_that_never_end_are_closed(strict: Service) -> None:
    with strict.connect() as silent, strict.connect() as slow, strict.connect() as second:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\nGET" % strict.port)
        assert read_all(silent) == b""
        assert read_all(slow) == b""
        assert status(read_all(second)) == 200


def test_a_request_under_way_is_not_taken_for_an_idle_connection(
    strict: Service, gate: Gate
) -> None:
    sent = strict.request(START, TYPE, f"Content-Length: {len(GOOD)}", body=GOOD)
    with strict.connect() as connection:
        connection.sendall(sent)
        assert gate.reached.wait(60)
        time.sleep(4 * 0.3)
        gate.open()
        assert status(read_all(connection)) == 200


def test_an_answer_does_not_wait_for_an_acknowledgement(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listening socket of these tests is of the kind that asyncio leaves as it is."""
    seen: list[int] = []
    begin = PatientProtocol.connection_made

    def connection_made(protocol: PatientProtocol, transport: asyncio.Transport) -> None:
        begin(protocol, transport)
        connection = transport.get_extra_info("socket")
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(PatientProtocol, "connection_made", connection_made)
    assert status_now(service) == 200
    assert seen == [1]


def test_connections_are_bounded(strict: Service) -> None:
    strict.client.close()  # its idle ones count
    held = [strict.connect() for _ in range(20)]
    try:
        closed = 0
        for connection in held:
            connection.settimeout(0.02)
            try:
                closed += connection.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                closed += 1
        assert closed >= 20 - 8
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: status_now(strict) == 200)


def test_silence_in_a_stream_is_broken_by_comments(room: EngineRoom, gate: Gate) -> None:
    with serving(room, HttpOptions(heartbeat_seconds=0.05), ready=False) as service:
        headers = EVENTS
        with service.client.stream("POST", "/v1/describe", content=GOOD, headers=headers) as answer:
            lines = answer.iter_lines()
            seen = [next(lines) for _ in range(8)]
            assert set(seen) == {":", ""}
            gate.open()
            assert "event: done" in list(lines)


def test_a_reader_that_stalls_is_given_up_and_holds_up_nobody(strict: Service) -> None:
    """The stream of a client that reads nothing ends; its memory is what sockets hold."""
    values = counts(400)
    body = msgspec.json.encode(DescribeRequest(cells=counted_cells(values)))
    options = HttpOptions(stalled_seconds=0.3)
    with serving(strict.room, options) as service, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(60)
        slow.connect(("127.0.0.1", service.port))
        length = f"Content-Length: {len(body)}"
        head = service.request(START, TYPE, length, "Accept: text/event-stream")
        slow.sendall(head + body)
        answer = service.client.post("/v1/describe", content=GOOD, headers=JSON)
        assert answer.status_code == 200
        wait_until(lambda: under_way(service) == 0)


def test_too_many_requests_at_once_are_sent_away(room: EngineRoom, gate: Gate) -> None:
    with serving(room, HttpOptions(open_requests=2), ready=False) as service:
        length = f"Content-Length: {len(GOOD)}"
        sent = service.request(START, TYPE, length, body=GOOD)
        with service.connect() as one, service.connect() as two:
            one.sendall(sent)
            two.sendall(sent)
            wait_until(lambda: under_way(service) == 2)
            assert service.client.get("/healthz").status_code == 200  # for probes
            answer = service.client.get("/v1/bundle")
            assert answer.status_code == 429
            assert int(answer.headers["Retry-After"]) >= 1
            problem(answer)
            gate.open()
            assert status(read_all(one)) == status(read_all(two)) == 200
        assert service.client.get("/v1/bundle").status_code == 200


def test_all_bodies_together_are_bounded(room: EngineRoom) -> None:
    with serving(room, HttpOptions(bodies_bytes=3000)) as service:
        with service.connect() as held:
            held.sendall(service.request(START, TYPE, "Content-Length: 2900", body=b" " * 2500))
            wait_until(lambda: post(service, b" " * 1000).status_code == 429)
            answer = post(service, b" " * 1000)
            assert answer.status_code == 429
            assert int(answer.headers["Retry-After"]) >= 1
            problem(answer)
            assert post(service, GOOD).status_code == 200
        wait_until(lambda: post(service, GOOD + b" " * 2000).status_code == 200)


def post(service: Service, body: bytes) -> httpx.Response:
    return service.client.post("/v1/describe", content=body, headers=JSON)


def test_a_full_room_says_when_to_come_back(model, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    room = EngineRoom(model, RoomLimits(waiting_cells=3), metrics)
    with serving(room, metrics=metrics) as service:
        gate = Gate(monkeypatch)
        length = f"Content-Length: {len(GOOD)}"
        sent = service.request(START, TYPE, length, body=GOOD)
        held = [service.connect() for _ in range(3)]
        for number, connection in enumerate(held, start=1):
            connection.sendall(sent)
            wait_until(lambda number=number: under_way(service) == number)
            assert gate.reached.wait(60)  # the worker has the first cell, and takes no other
        assert room.waiting == 2
        cells = counted_cells(counts(4))
        content = msgspec.json.encode(DescribeRequest(cells=cells))
        answer = service.client.post("/v1/describe", content=content, headers=JSON)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert "wait already" in problem(answer)["detail"]
        gate.open()
        assert [status(read_all(connection)) for connection in held] == [200] * 3
        for connection in held:
            connection.close()
        labels = {"reason": "overloaded"}
        assert metrics.registry.get_sample_value("c2t_rejected_total", labels) == 1
    room.close()


def under_way(service: Service) -> int:
    """Requests in the room."""
    return service.room._under_way


def gone(service: Service) -> float:
    """Requests whose client had gone."""
    labels = {"route": "/v1/describe", "code": "499"}
    return service.metrics.registry.get_sample_value("c2t_requests_total", labels) or 0.0


def status_now(service: Service) -> int:
    """The status of a request on a connection of its own; 0 if it was closed at once."""
    try:
        answer = service.raw(service.request("GET /healthz HTTP/1.1"))
    except OSError:
        return 0
    return status(answer) if answer else 0
