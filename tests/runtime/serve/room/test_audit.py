"""The audit trail of a room: no text leaves without its line, refusals too, and a full disk."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from serve_cells import counted_cells, counts, described
from service_trail import Disk, ServiceTrail, hash_of, service_trail

import c2t
from c2t.runtime.audit.line import Action
from c2t.runtime.serve.room import audit as audit_module
from c2t.runtime.serve.room.asking import let_in
from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest, Settings
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.room.ticket import CellDone
from c2t.runtime.system.errors import AuditError, C2TError, CellFileError

OPTIONS = c2t.DescribeOptions(threads=1, engine="cpu", batch_size=2)


@pytest.fixture(scope="module")
def model(tiny_bundle_folder: Path):
    with c2t.open(tiny_bundle_folder, OPTIONS) as model:
        yield model


@pytest.fixture
def trail(tmp_path: Path):
    with service_trail(tmp_path) as trail:
        yield trail


@pytest.fixture
def room(model: c2t.Model, trail: ServiceTrail):
    room = EngineRoom(model, audit=trail.audit)
    yield room
    room.close()


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(audit_module, "RETRY_SECONDS", 0.05)
    return Disk(monkeypatch)


def request_of(cells: int, **settings) -> DescribeRequest:
    return DescribeRequest(cells=counted_cells(counts(cells)), settings=Settings(**settings))


def test_a_request_has_one_line_with_all_that_matters(room: EngineRoom, trail: ServiceTrail):
    request = request_of(3, max_new_tokens=5)

    def ask():
        let_in("a door", "somebody\n\x1b")
        return room.describe(request).wait(60)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask).result()
    assert answer.cells == described(room.model, counts(3), replace(OPTIONS, max_new_tokens=5))
    (line,) = trail.lines()
    assert line["action"] == "request"
    assert line["who"]["asked_by"].startswith("a door, somebody ")
    assert "\x1b" not in line["who"]["asked_by"]
    details = line["details"]
    assert details["input_sha256"] == hashlib.sha256(msgspec.json.encode(request)).hexdigest()
    assert details["text_sha256"] == hash_of(answer.cells)
    assert (details["cells"], details["failed"]) == (3, 0)
    assert details["bundle"] == room.model.bundle.digest
    assert details["engine"] == room.model.describer().engines.label
    assert details["settings"]["max_new_tokens"] == "5"
    assert details["result"] == "done"


def test_nothing_is_given_before_its_line(
    room: EngineRoom, trail: ServiceTrail, monkeypatch: pytest.MonkeyPatch
):
    reached, go_on = threading.Event(), threading.Event()
    write = trail.audit._write

    def held(*args, **kwargs):
        reached.set()
        assert go_on.wait(60)
        return write(*args, **kwargs)

    monkeypatch.setattr(trail.audit, "_write", held)
    woken = threading.Event()
    ticket = room.describe(request_of(2), wake=woken.set)
    assert reached.wait(60)  # all texts are there
    assert not ticket.finished
    assert ticket.take() == []
    with pytest.raises(C2TError):
        ticket.response()
    assert not room.drain(0.1)
    assert not woken.is_set()
    go_on.set()
    assert woken.wait(60)
    assert ticket.finished
    assert len([event for event in ticket.take() if isinstance(event, CellDone)]) == 2
    assert room.drain(60)


def test_a_stream_has_a_line_before_its_first_text(room: EngineRoom, trail: ServiceTrail):
    ticket = room.describe(request_of(2), stream=True)
    seen = []
    while not ticket.finished:
        if events := ticket.take():
            seen += events
            assert trail.lines("request")
    assert ticket.take() is not None
    begun, ended = trail.lines("request")
    assert begun["details"]["result"] == "begun, and read while it is written"
    assert ended["details"]["text_sha256"] == hash_of(ticket.response().cells)
    assert begun["details"]["input_sha256"] == ended["details"]["input_sha256"]


def test_a_cancelled_request_has_its_line(room: EngineRoom, trail: ServiceTrail):
    ticket = room.describe(request_of(200))
    ticket.cancel()
    (line,) = trail.wait_for("request")
    assert line["details"]["result"].startswith("cancelled; ")
    assert line["details"]["cells"] < 200


def test_who_is_refused_has_a_line(room: EngineRoom, trail: ServiceTrail):
    with pytest.raises(CellFileError) as caught:
        room.describe(DescribeRequest(cells=[CountedCell(counts={"nonsense": 3, "rubbish": 1})]))
    trail.audit.refused(caught.value)  # by the door, too: it is told once
    (line,) = trail.wait_for("refuse")
    assert "gene names not recognised" in line["details"]["problem"]
    room.describe(request_of(1)).wait(60)
    assert [line["action"] for line in trail.lines()] == ["refuse", "request"]


def test_a_flood_of_refusals_fits_in_few_lines(trail: ServiceTrail):
    for number in range(5000):
        error = C2TError("the token is wrong" if number % 2 else f"problem {number}", hint="")
        trail.audit.refused(error, action=Action.login)
    trail.audit.close()
    lines = trail.lines("login")
    assert len(lines) < 2500

    def times(line):
        words = line["details"].get("result", "refused 1 times").split()
        return int(words[1].replace(",", ""))

    assert sum(map(times, lines)) == 5000


def test_on_a_full_disk_nothing_is_given_and_nothing_taken(
    room: EngineRoom, trail: ServiceTrail, disk: Disk
):
    assert room.describe(request_of(1)).wait(60)
    disk.full = True
    for stream in (False, True):
        # The one that finds it out has its texts withheld; the next is refused at once.
        with pytest.raises(AuditError):
            room.describe(request_of(1), stream=stream).wait(60)
    with pytest.raises(AuditError, match="takes no line"):
        room.describe(request_of(1))
    assert room.drain(0)  # nothing hangs
    room._stopping = False
    assert len(trail.lines()) == 1
    disk.full = False
    (line,) = trail.wait_for("recover")
    assert line["details"]["result"].startswith("lines can be written again; ")
    for _ in range(100):  # the line is on the disk a moment before the service knows it
        with contextlib.suppress(AuditError):
            room.audit.check()
            break
        time.sleep(0.05)
    assert room.describe(request_of(1)).wait(60).cells


def test_texts_of_a_stream_are_withheld_where_its_line_fails(room: EngineRoom, disk: Disk):
    room.warm_up()
    disk.full = True
    ticket = room.describe(request_of(2), stream=True)
    with pytest.raises(AuditError):
        ticket.wait(60)
    with pytest.raises(AuditError):
        ticket.take()
    with pytest.raises(AuditError):
        ticket.response()


def test_many_threads_have_a_line_each(room: EngineRoom, trail: ServiceTrail):
    requests = [request_of(1 + number % 3) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda request: room.describe(request).wait(60), requests))
    found = sorted(line["details"]["text_sha256"] for line in trail.lines("request"))
    assert found == sorted(hash_of(answer.cells) for answer in answers)


def test_after_its_end_a_service_takes_nothing(room: EngineRoom, trail: ServiceTrail):
    trail.audit.close()
    with pytest.raises(AuditError, match="about to stop"):
        room.describe(request_of(1))


def test_a_bug_in_a_line_hangs_nobody(room: EngineRoom, monkeypatch: pytest.MonkeyPatch):
    from c2t.runtime.serve.room.ticket import Ticket

    monkeypatch.setattr(Ticket, "_found", lambda ticket: 1 / 0)
    with pytest.raises(AuditError, match="a fault of the service"):
        room.describe(request_of(1)).wait(60)
