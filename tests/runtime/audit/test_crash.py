"""Killed at any system call, a process leaves a trail that checks, with all it acknowledged."""

from __future__ import annotations

import signal
from collections import Counter
from itertools import count

import pytest
from audit_cases import Files, write_trail
from audit_kill import NEVER, kill_at_every_call, run_killed

from c2t.runtime.audit.line import Action, read_line

pytest.importorskip("fcntl", reason="SIGKILL and flock are POSIX")


@pytest.fixture
def new_files(tmp_path):
    numbers = count()
    return lambda: Files.new(tmp_path / str(next(numbers)), "trail")


def is_whole(files, acknowledged, outcomes):
    """The trail checks, holds what was acknowledged, and goes on; a crash is said."""
    if files.head.exists():
        checked = files.check()
        assert checked.faults == ()
        outcomes["with a note" if checked.notes else "as usual"] += 1
    else:  # not even begun
        assert not files.trail.exists() or files.trail.read_bytes() == b""
        assert not acknowledged
        outcomes["not begun"] += 1
    with files.open() as trail:
        trail.record(Action.start)
    checked = files.check()
    assert (checked.faults, checked.notes) == ((), ())
    lines = [read_line(line) for line in files.trail.read_bytes().splitlines()]
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    chunks = [line.seq for line in lines if line.action == "chunk"]
    assert set(acknowledged) <= set(chunks)
    outcomes["taken over"] += len(chunks) > len(acknowledged)
    outcomes["cut off"] += sum(line.action == "recover" for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 3])
def test_kill_at_every_call(new_files, lines):
    outcomes = Counter()
    killed = kill_at_every_call(
        new_files, lines, lambda files, acknowledged: is_whole(files, acknowledged, outcomes)
    )
    assert killed["before"] == killed["after"] > 5
    assert killed["halfway"] == 2  # the line, the head
    # Every way to crash has come to pass: before the line, after it, in the middle of it.
    assert outcomes["as usual"]
    assert outcomes["with a note"]
    assert outcomes["taken over"]
    assert outcomes["cut off"]


def test_kill_around_the_line(new_files):
    _, _, calls = run_killed(new_files().trail.parent, 2, NEVER, "before")
    line, head = [number for number, name in enumerate(calls) if name == "write"]
    outcomes = Counter()
    for call, when in [(line, "before"), (line, "halfway"), (line, "after"), (head, "halfway")]:
        files = new_files()
        code, acknowledged, _ = run_killed(files.trail.parent, 2, call, when)
        assert code == -signal.SIGKILL
        is_whole(files, acknowledged, outcomes)
    assert outcomes == {"as usual": 1, "with a note": 3, "taken over": 2, "cut off": 1}


def test_a_crash_between_line_and_head_is_said(new_files):
    files = new_files()
    write_trail(files, 5)
    content, head = files.trail.read_bytes(), files.head.read_bytes()
    with files.open() as trail:
        trail.record(Action.stop)
    files.head.write_bytes(head)
    checked = files.check()
    assert checked.faults == ()
    (note,) = checked.notes
    assert note.startswith("line 6 is right and not in the head: a crash came between the two")
    # Two lines more are no crash: the head is an older copy.
    with files.open() as trail:
        trail.record(Action.stop)
    files.head.write_bytes(head)
    (fault, other) = files.check().faults
    assert (fault.line, other.line, fault.kind) == (6, 7, "added")
    files.trail.write_bytes(content)
    assert files.check().faults == ()


def test_the_beginning_of_a_line_is_said(new_files):
    files = new_files()
    write_trail(files, 5)
    head = files.head.read_bytes()
    with files.open() as trail:
        trail.record(Action.stop)
    whole = files.trail.read_bytes()
    start = len(b"".join(whole.splitlines(keepends=True)[:5]))
    files.head.write_bytes(head)
    for length in range(start + 1, len(whole)):
        files.trail.write_bytes(whole[:length])
        checked = files.check()
        assert checked.faults == ()
        assert "the beginning of a line" in checked.notes[0]
    # What cannot be one is a fault.
    for rest in (b"x", b'{"mac":"g', b"{}", whole[start:-1].replace(b'"seq":6', b'"seq":7')):
        files.trail.write_bytes(whole[:start] + rest)
        assert [fault.line for fault in files.check().faults] == [6]
