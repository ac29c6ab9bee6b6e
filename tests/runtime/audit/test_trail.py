"""Appending to a trail: by threads, by processes, with bad keys and heads, on a full disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit_cases import Files, write_trail

from c2t.runtime.audit import trail as trail_module
from c2t.runtime.audit.check import check_trail
from c2t.runtime.audit.line import Action, Details, read_line
from c2t.runtime.audit.texts import TextsHash
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.system.errors import AuditError


@pytest.fixture
def files(tmp_path):
    return Files.new(tmp_path)


def lines_of(files):
    return [json.loads(line) for line in files.trail.read_bytes().splitlines()]


def test_a_line_says_who_did_what_when(files):
    before = datetime.now(UTC)
    with files.open() as trail:
        details = Details(bundle="b" * 64, engine="onnxruntime-cpu", cells=3, settings={"a": "1"})
        assert trail.record(Action.start, details, asked_by="robot-7") == 1
        assert trail.record(Action.stop) == 2
    first, second = lines_of(files)
    assert first["action"] == "start"
    assert first["who"]["asked_by"] == "robot-7"
    assert first["who"]["process"] == os.getpid()
    if hasattr(os, "getuid"):
        assert first["who"]["uid"] == os.getuid()
    assert before <= datetime.fromisoformat(first["time"]) <= datetime.now(UTC)
    assert first["time"].endswith("Z")
    assert first["details"] == {
        "bundle": "b" * 64,
        "engine": "onnxruntime-cpu",
        "cells": 3,
        "settings": {"a": "1"},
    }
    assert second["previous"] == first["mac"]
    assert second["details"] == {}


def test_the_account_is_not_taken_from_the_environment(files, monkeypatch):
    pwd = pytest.importorskip("pwd")
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    with files.open() as trail:
        trail.record(Action.start)
    assert lines_of(files)[0]["who"]["user"] == pwd.getpwuid(os.getuid()).pw_name


def test_configuration_says_previous_and_new_values(files):
    with files.open() as trail:
        assert trail.configure("describe", {"engine": "cpu", "layer": "X"}, reason="first use")
        assert not trail.configure("describe", {"engine": "cpu", "layer": "X"})
        assert trail.configure("serve", {"port": "80"})
    with files.open() as trail:
        assert trail.configure("describe", {"engine": "cuda", "beams": "2"}, reason="new GPU")
    first, _, second = lines_of(files)
    assert first["details"]["changes"]["layer"] == {"previous": None, "new": "X"}
    assert second["details"]["changes"] == {
        "beams": {"previous": None, "new": "2"},
        "engine": {"previous": "cpu", "new": "cuda"},
        "layer": {"previous": "X", "new": None},
    }
    assert second["details"]["reason"] == "new GPU"
    assert files.check().faults == ()


def test_threads_append_in_turn(files):
    with files.open() as trail, files.open() as another:
        threads = [
            threading.Thread(target=lambda t=t: [t.record(Action.request) for _ in range(10)])
            for t in (trail, trail, another)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [line["seq"] for line in lines_of(files)] == list(range(1, 31))
    assert files.check().faults == ()


APPEND = """
import sys
from pathlib import Path
from c2t.runtime.audit.line import Action
from c2t.runtime.audit.trail import AuditTrail
trail, key, head = map(Path, sys.argv[1:4])
with AuditTrail.open(trail, key=key, head=head) as opened:
    for _ in range(15):
        print(opened.record(Action.request))
"""


def test_processes_append_in_turn(files):
    places = [str(place) for place in (files.trail, files.key, files.head)]
    arguments = [sys.executable, "-P", "-c", APPEND, *places]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sorted(int(n) for numbers in said for n in numbers) == list(range(1, 46))
    assert files.check().faults == ()


FORK = """
import os, sys
from pathlib import Path
from c2t.runtime.audit.line import Action
from c2t.runtime.audit.trail import AuditTrail
trail, key, head = map(Path, sys.argv[1:4])
with AuditTrail.open(trail, key=key, head=head) as opened:
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            for _ in range(15):
                opened.record(Action.request)
            os._exit(0)
        children.append(child)
    for _ in range(15):
        opened.record(Action.request)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forks_append_in_turn(files):
    places = [str(place) for place in (files.trail, files.key, files.head)]
    subprocess.run([sys.executable, "-P", "-c", FORK, *places], check=True)
    assert [line["seq"] for line in lines_of(files)] == list(range(1, 61))
    assert files.check().faults == ()


def test_several_first_processes_get_one_key(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    code = APPEND.replace("key=key, head=head", "")
    arguments = [sys.executable, "-P", "-c", code]
    trails = [tmp_path / f"{n}.jsonl" for n in range(3)]
    running = [
        subprocess.Popen([*arguments, str(t), "", ""], stdout=subprocess.DEVNULL) for t in trails
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    for path in trails:
        assert check_trail(path).faults == ()
    names = sorted(path.name for path in (tmp_path / "state/c2t/audit").iterdir())
    assert len(names) == 4
    assert "key" in names
    assert (tmp_path / "state/c2t/audit/key").stat().st_mode & 0o077 == 0


def test_by_default_head_and_key_lie_in_the_state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "results" / "trail.jsonl"
    path.parent.mkdir()
    with AuditTrail.open(path) as trail:
        trail.record(Action.start)
    assert [file.name for file in path.parent.iterdir()] == ["trail.jsonl"]
    assert check_trail(path).lines == 1
    # A trail that was moved has its head elsewhere.
    moved = path.rename(path.with_name("moved.jsonl"))
    with pytest.raises(AuditError, match="has no head at") as caught:
        check_trail(moved)
    assert "--audit-head" in caught.value.hint
    with pytest.raises(AuditError, match="has lines, and its head"):
        AuditTrail.open(moved)
    (head,) = (tmp_path / "state/c2t/audit").glob("*.head")
    assert check_trail(moved, head=head).faults == ()
    # Without its key nothing is said about it, and no new key is made.
    (tmp_path / "state/c2t/audit/key").unlink()
    for action in (check_trail, AuditTrail.open):
        with pytest.raises(AuditError, match="is not the key of an audit trail"):
            action(moved, head=head)


@pytest.mark.parametrize("content", [b"", b"xyz", b"0" * 63, b"0" * 65, b"g" * 64, b"0" * 9000])
def test_bad_keys(files, content):
    files.key.write_bytes(content)
    for action in (files.open, files.check):
        with pytest.raises(AuditError, match="is not the key of an audit trail") as caught:
            action()
        assert "openssl rand" in caught.value.hint
    assert not files.trail.exists()
    assert not files.head.exists()


def test_a_trail_of_another_key(files, tmp_path):
    write_trail(files, 3)
    content, head = files.trail.read_bytes(), files.head.read_bytes()
    files.key.write_text("0123456789abcdef" * 4)
    for action in (files.open, files.check):
        with pytest.raises(AuditError, match="is the head of a trail with another key") as caught:
            action()
        assert "--audit-key" in caught.value.hint
    assert files.trail.read_bytes() == content
    assert files.head.read_bytes() == head


@pytest.mark.parametrize("content", [b"", b"x" * 1024, b" " * 1024, b"[" * 1024, b"x" * 2000])
def test_damaged_heads(files, content):
    write_trail(files, 3)
    files.head.write_bytes(content)
    for action in (files.open, files.check):
        with pytest.raises(AuditError, match="is not the head of an audit trail") as caught:
            action()
        assert caught.value.hint
    assert files.head.read_bytes() == content


def test_a_changed_head(files):
    write_trail(files, 3)
    content = files.head.read_bytes()
    # The newer record was changed: the older one is one line behind, as after a crash.
    files.head.write_bytes(content.replace(b'"count":3', b'"count":9'))
    assert "not in the head" in files.check().notes[0]
    files.head.write_bytes(re.sub(rb'"count":\d', b'"count":1', content))
    with pytest.raises(AuditError, match="is not the head of an audit trail, or was changed"):
        files.check()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_places_that_are_no_files(files, tmp_path):
    for place in ("/dev/full", str(tmp_path), str(tmp_path / "no" / "folder")):
        with pytest.raises(AuditError) as caught:
            AuditTrail.open(Path(place), key=files.key, head=files.head)
        assert caught.value.hint
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuditError, match="no regular file"):
        AuditTrail.open(tmp_path / "pipe", key=files.key, head=files.head)


def test_a_full_disk_leaves_no_half_line(files, monkeypatch):
    write_trail(files, 3)
    content = files.trail.read_bytes()
    real = os.write

    def write(handle, what):
        real(handle, bytes(what)[:10])
        raise OSError(28, "No space left on device")

    with files.open() as trail:
        monkeypatch.setattr(trail_module.os, "write", write)
        with pytest.raises(AuditError, match="No space left on device") as caught:
            trail.record(Action.chunk)
        assert caught.value.hint
        assert files.trail.read_bytes() == content
        monkeypatch.undo()
        assert trail.record(Action.chunk) == 4
    assert files.check().faults == ()


def test_a_line_is_bounded(files):
    with files.open() as trail:
        with pytest.raises(AuditError, match="too long"):
            trail.record(Action.start, Details(problem="x" * (2 << 20)))
        assert trail.record(Action.start) == 1
    assert files.check().faults == ()


def test_a_link_to_a_trail_is_that_trail(files, tmp_path):
    link = tmp_path / "link.jsonl"
    write_trail(files, 2)
    link.symlink_to(files.trail)
    with AuditTrail.open(link, key=files.key, head=files.head) as trail:
        assert trail.record(Action.stop) == 3
    assert files.check().lines == 3


def test_names_that_are_no_text(files):
    with files.open() as trail:
        details = Details(input="a\udcff.h5ad", outputs={"b\udcff": "0"}, settings={"x": "é"})
        trail.record(Action.start, details)
    (line,) = lines_of(files)
    assert line["details"]["input"] == "a\\udcff.h5ad"
    assert line["details"]["outputs"] == {"b\\udcff": "0"}
    assert line["details"]["settings"] == {"x": "é"}
    assert files.check().faults == ()


def test_a_closed_trail(files):
    trail = files.open()
    trail.close()
    trail.close()
    with pytest.raises(AuditError, match="is closed"):
        trail.record(Action.stop)


def test_lines_of_a_trail_are_json(files):
    write_trail(files, 5)
    for line in files.trail.read_bytes().splitlines():
        assert read_line(line).seq == json.loads(line)["seq"]


def test_hash_of_texts():
    texts = TextsHash()
    texts.add("a", "Grüße\n")
    texts.add("b", "half a text", "too few genes")
    lines = '["a","Grüße\\n"]\n["b",null,"too few genes"]\n'
    assert texts.hexdigest() == hashlib.sha256(lines.encode()).hexdigest()
    assert (texts.cells, texts.failed) == (2, 1)
