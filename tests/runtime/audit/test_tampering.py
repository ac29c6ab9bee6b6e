"""What somebody without the key does to a trail is found, and the line is named."""

from __future__ import annotations

import json

import pytest
from audit_cases import KINDS, Files, tamper_many, write_trail

from c2t.runtime.audit.line import Action
from c2t.runtime.system.errors import AuditError


@pytest.fixture
def files(tmp_path):
    files = Files.new(tmp_path)
    write_trail(files, 12)
    return files


def faults(files):
    return [(fault.kind, fault.line) for fault in files.check().faults]


def test_random_tamperings_are_all_found_and_named(files):
    counts = tamper_many(files, 210, seed=7)
    assert counts["done"].total() > 200
    assert set(counts["done"]) == set(KINDS)
    assert counts["found"] == counts["done"]
    assert counts["named"] == counts["done"]


def edit(files, change):
    lines = files.trail.read_bytes().splitlines(keepends=True)
    change(lines)
    files.trail.write_bytes(b"".join(lines))


def swap(lines, one, other):
    lines[one], lines[other] = lines[other], lines[one]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: None, []),
        (lambda lines: lines.pop(3), [("removed", 4)]),
        (lambda lines: lines.pop(0), [("removed", 1)]),
        (lambda lines: lines.pop(), [("cut off", 12)]),
        (lambda lines: lines.clear(), [("cut off", 1)]),
        (lambda lines: swap(lines, 2, 7), [("moved", 3), ("moved", 8)]),
        (lambda lines: lines.append(lines.pop(4)), [("moved", 5)]),
        (lambda lines: lines.append(lines[4]), [("added", 5)]),
        (lambda lines: lines.insert(0, b"{}\n"), [("added", 1)]),
        (lambda lines: lines.insert(5, b"\n"), [("added", 6)]),
        (lambda lines: lines.__setitem__(6, b"\n"), [("changed", 7)]),
        (lambda lines: lines.__setitem__(11, lines[11][:-1]), [("cut off", 12), ("added", 12)]),
    ],
    ids=range(12),
)
def test_what_is_said(files, change, expected):
    edit(files, change)
    assert sorted(faults(files)) == sorted(expected)


def test_each_value_of_a_line_counts(files):
    lines = files.trail.read_bytes().splitlines(keepends=True)
    document = json.loads(lines[4])
    for name in document:
        other = {**document, name: "x" if isinstance(document[name], str) else {}}
        content = json.dumps(other, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        files.trail.write_bytes(b"".join([*lines[:4], content, *lines[5:]]))
        assert faults(files) == [("changed", 5)], name


def test_the_same_values_written_otherwise(files):
    edit(files, lambda lines: lines.__setitem__(2, lines[2].replace(b'":', b'": ')))
    assert faults(files) == [("changed", 3)]


def test_a_key_that_another_line_names(files, tmp_path):
    other = Files.new(tmp_path / "other")
    write_trail(other, 3)
    edit(files, lambda lines: lines.append(other.trail.read_bytes().splitlines(True)[2]))
    (fault,) = files.check().faults
    assert (fault.kind, fault.line) == ("added", 13)
    assert "the key it names" in fault.problem


def test_a_line_of_another_trail_with_the_same_key(files, tmp_path):
    other = Files(tmp_path / "b.jsonl", files.key, tmp_path / "b.head")
    write_trail(other, 13)
    edit(files, lambda lines: lines.append(other.trail.read_bytes().splitlines(True)[12]))
    assert faults(files) == [("added", 13)]
    other_lines = other.trail.read_bytes().splitlines(True)
    files.trail.write_bytes(b"".join(other_lines[:12]))
    assert faults(files) == [("changed", 12)]


def test_two_stories_that_begin_in_the_same_way(files):
    """Trail and head were put back and went on, then the newer head came back."""
    content, head = files.trail.read_bytes(), files.head.read_bytes()
    with files.open() as trail:
        trail.record(Action.stop)
        trail.record(Action.stop)
    newer = files.head.read_bytes()
    files.trail.write_bytes(content)
    files.head.write_bytes(head)
    with files.open() as trail:
        trail.record(Action.start)
        trail.record(Action.start)
    assert faults(files) == []
    files.head.write_bytes(newer)
    assert faults(files) == [("changed", 14)]


def test_long_lines_and_long_files_are_bounded(files):
    edit(files, lambda lines: lines.insert(3, b"x" * (3 << 20) + b"\n"))
    kinds = {kind for kind, _ in faults(files)}
    assert kinds == {"added"}


def test_deep_lines(files):
    edit(files, lambda lines: lines.insert(3, b"[" * 100_000 + b"\n"))
    assert faults(files) == [("added", 4)]


def test_a_trail_that_is_gone(files):
    files.trail.unlink()
    assert faults(files) == [("cut off", 1)]
    with pytest.raises(AuditError, match="its head says that it had 12 lines"):
        files.open()
    assert not files.trail.exists()
    files.trail.touch()
    with pytest.raises(AuditError, match="its head says that it had 12 lines"):
        files.open()


@pytest.mark.parametrize("cut", [1, 500])
def test_nothing_is_appended_to_what_was_changed(files, cut):
    content = files.trail.read_bytes()
    files.trail.write_bytes(content[:-cut])
    with pytest.raises(AuditError, match="was changed") as caught:
        files.open()
    assert "c2t audit check" in caught.value.hint
    assert files.trail.read_bytes() == content[:-cut]
    changed = content[:-20] + b"x" + content[-19:]
    files.trail.write_bytes(changed)
    with pytest.raises(AuditError, match="not the one that its head knows"):
        files.open()
    files.trail.write_bytes(content + b"{}\n")
    with pytest.raises(AuditError, match="its line 13 is not one of this trail"):
        files.open()
    files.trail.write_bytes(content + content.splitlines(True)[-1])
    with pytest.raises(AuditError, match="its line 13 is not one of this trail"):
        files.open()
    files.trail.write_bytes(content + b"x")
    with pytest.raises(AuditError, match="no beginning of a line"):
        files.open()
    assert files.trail.read_bytes() == content + b"x"


def test_it_is_found_while_the_trail_is_open(files):
    with files.open() as trail:
        trail.record(Action.start)
        edit(files, lambda lines: lines.pop())
        with pytest.raises(AuditError, match="was changed"):
            trail.record(Action.stop)
        files.trail.rename(files.trail.with_name("away"))
        with pytest.raises(AuditError, match="was moved away"):
            trail.record(Action.stop)
