"""The Unix socket: who may connect, several programs at once, and its end."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import msgspec
import pytest
from serve_cells import counts, described
from stdio_peer import Talk, describe_params

from c2t.runtime.serve.room.messages import DescribeResponse
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio import unix_socket
from c2t.runtime.serve.stdio.unix_socket import SocketDoor
from c2t.runtime.system.errors import C2TError

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@pytest.fixture
def path(tmp_path: Path):
    return tmp_path / "c2t.sock"


@pytest.fixture
def door(room: EngineRoom, path: Path):
    with SocketDoor(room, path) as door:
        yield door


def connect(path: Path) -> Talk:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))
    return Talk(connection)


def test_several_programs_share_the_service(room: EngineRoom, door: SocketDoor) -> None:
    values = counts(4)
    expected = described(room.model, values)
    with connect(door.path) as one, connect(door.path) as two:
        for talk in (one, two):
            talk.initialize()
            talk.ask(1, "describe", describe_params(values))
        for talk in (one, two):
            answer = msgspec.convert(talk.answer(1)["result"], DescribeResponse)
            assert answer.cells == expected
        one.ask(2, "shutdown")  # ends this conversation only
        assert one.answer(2)["result"] is None
        assert one.line() is None
        two.ask(3, "describe", describe_params(values))
        assert "result" in two.answer(3)


def test_only_the_owner_may_connect(door: SocketDoor) -> None:
    status = door.path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_socket_is_gone_after_the_end(room: EngineRoom, path: Path) -> None:
    with SocketDoor(room, path):
        assert path.exists()
    assert not path.exists()


def test_socket_of_a_killed_service_is_replaced(room: EngineRoom, path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    assert path.exists()
    with SocketDoor(room, path), connect(path) as talk:
        talk.initialize()


def test_two_services_do_not_share_a_place(room: EngineRoom, door: SocketDoor) -> None:
    with pytest.raises(C2TError, match="another service listens"):
        SocketDoor(room, door.path)
    with connect(door.path) as talk:
        talk.initialize()


def test_socket_of_another_program_stays(room: EngineRoom, path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(C2TError, match="another service listens"):
            SocketDoor(room, path)
    assert path.exists()


def test_places_that_cannot_be(room: EngineRoom, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(C2TError, match="is no socket"):
        SocketDoor(room, file)
    assert file.read_text() == "precious"
    with pytest.raises(C2TError, match="cannot make a socket"):
        SocketDoor(room, tmp_path / "nowhere" / "c2t.sock")
    with pytest.raises(C2TError, match="cannot make a socket") as caught:
        SocketDoor(room, tmp_path / ("x" * 120))
    assert "shorter" in caught.value.hint


def test_too_many_programs(
    room: EngineRoom, door: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "PEERS_MAX", 1)
    with connect(door.path) as one:
        one.initialize()
        with connect(door.path) as two:
            code, data = two.error(None)
            assert (code, data["retry_after"]) == (-32002, 1)
            assert two.line() is None
        one.ask(1, "describe", describe_params(counts(1)))
        assert "result" in one.answer(1)


def test_close_answers_what_was_begun(room: EngineRoom, path: Path, gate) -> None:
    door = SocketDoor(room, path)
    with connect(path) as talk:
        talk.initialize()
        talk.ask(1, "describe", describe_params(counts(3)))
        assert gate.reached.wait(60)
        closing = threading.Thread(target=door.close)
        closing.start()
        while path.exists():
            os.sched_yield()
        gate.open()
        assert len(talk.answer(1)["result"]["cells"]) == 3
        assert talk.line() is None
        closing.join(60)
        assert not closing.is_alive()


def test_close_does_not_wait_for_ever(room: EngineRoom, path: Path, gate) -> None:
    door = SocketDoor(room, path)
    with connect(path) as talk:
        talk.initialize()
        talk.ask(1, "describe", describe_params(counts(3)))
        assert gate.reached.wait(60)
        door.close(timeout=0.1)
        assert talk.line() is None
    gate.open()
    assert room.drain(60)


def test_programs_that_leave_are_forgotten(room: EngineRoom, door: SocketDoor) -> None:
    for _ in range(30):
        with connect(door.path) as talk:
            talk.initialize()
    with connect(door.path) as talk:
        talk.initialize()
        while len(door._peers) > 1:
            os.sched_yield()
