"""The journal of a run: resumed, refused, and never trusted."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_descriptions import FakeModel, N, make_run, write

from c2t.runtime.describe.description import Description
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.journal import Journal, RunMark, journal_path, read_line
from c2t.runtime.output.record import Record
from c2t.runtime.output.write import (
    DescribeEnded,
    DescribeInterrupted,
    describe_to_files,
)
from c2t.runtime.system.errors import OutputError


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_resumed_run_loses_and_repeats_nothing(cells: Path, tmp_path: Path, cut: int) -> None:
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    write(cells, whole)
    with pytest.raises(DescribeInterrupted) as caught:
        write(cells, target, FakeModel(at=7))
    assert (caught.value.done, caught.value.total) == (7, N)
    assert not target.exists()
    journal = journal_path(target)
    if cut:  # killed in the middle of a line
        journal.write_bytes(journal.read_bytes()[:-cut])
    model = FakeModel()
    summary = write(cells, target, model)
    first = 6 if cut else 7
    assert model.seen == list(range(first, N))
    assert summary.resumed == first
    assert target.read_bytes() == whole.read_bytes()
    assert not journal.exists()


def test_an_error_keeps_what_was_described(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write(cells, tmp_path / "out.csv", FakeModel(at=7, stop=ZeroDivisionError))
    assert write(cells, tmp_path / "out.csv").resumed == 7


def test_a_run_that_a_signal_ends_says_what_is_kept(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DescribeEnded) as caught:
        write(cells, tmp_path / "out.csv", FakeModel(at=7, stop=SystemExit))
    assert (caught.value.done, caught.value.total) == (7, N)


def test_a_run_stopped_at_once_leaves_nothing(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DescribeInterrupted):
        write(cells, tmp_path / "out.csv", FakeModel(at=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bundle": "d" * 64}, "bundle"),
        ({"options": {"beams": "4"}}, "beams"),
        ({"rows": np.arange(5, N)}, "cells chosen"),
        ({"c2t_version": "1"}, "version of c2t"),
    ],
)
def test_journal_of_another_run_is_refused(
    cells: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    run = make_run(cells, **changes)
    with pytest.raises(OutputError, match=named) as caught:
        describe_to_files(run, (target,), FakeModel())
    assert "--restart" in caught.value.hint
    model = FakeModel(rows=run.rows.tolist())
    assert describe_to_files(run, (target,), model, restart=True).resumed == 0


def test_changed_file_of_cells_is_refused(cells: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    cells.write_bytes(cells.read_bytes() + b"\0")
    with pytest.raises(OutputError, match="changed since"):
        write(cells, target)


def test_a_copied_file_of_cells_is_the_same(cells: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    os.utime(cells, (1, 1))
    assert write(cells, target).resumed == 7


def test_file_of_cells_that_changes_meanwhile(cells: Path, tmp_path: Path) -> None:
    class Meddler(FakeModel):
        def __call__(self, start: int) -> Iterator[Description]:
            yield from super().__call__(start)
            cells.write_bytes(cells.read_bytes() + b"\0")

    with pytest.raises(OutputError, match="changed while"):
        write(cells, tmp_path / "out.jsonl", Meddler())
    assert not (tmp_path / "out.jsonl").exists()


def interrupted(cells: Path, target: Path) -> list[bytes]:
    """A run that stopped after seven cells; the lines of its journal."""
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    return journal_path(target).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [*lines[:3], lines[3][:9] + b"\n", *lines[4:]], "line 4, is damaged"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "line 4, is about row 3"),
        (lambda lines: [*lines[:3], lines[3], *lines[3:]], "line 5, is about row 2, not row 3"),
        (lambda lines: lines[:3] + lines[4:], "line 4, is about row 3, not row 2"),
        (lambda lines: [*lines, *lines[1:]], "line 9, is about row 0"),
        (lambda lines: [*lines[:2], b"\xff\xfe{}\n", *lines[3:]], "line 3, is damaged"),
        (lambda lines: [b"{}\n", *lines[1:]], "cannot be read|is not a journal"),
        (lambda lines: [b"\xff\n", *lines[1:]], "cannot be read|is not a journal"),
    ],
)
def test_a_changed_journal_is_refused(
    cells: Path, tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], problem: str
) -> None:
    target = tmp_path / "out.jsonl"
    lines = change(interrupted(cells, target))
    journal_path(target).write_bytes(b"".join(lines))
    with pytest.raises(OutputError, match=problem) as caught:
        write(cells, target)
    assert "--restart" in caught.value.hint


def test_no_flipped_bit_of_a_journal_changes_an_output(cells: Path, tmp_path: Path) -> None:
    """Whatever bit flips, the run is refused or its output is the right one."""
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    write(cells, whole)
    content = b"".join(interrupted(cells, target))
    refused = 0
    for bit in range(0, 8 * len(content), 29):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        journal_path(target).write_bytes(damaged)
        try:
            write(cells, target, force=True)
        except OutputError:
            refused += 1
        else:
            assert target.read_bytes() == whole.read_bytes(), bit
    assert refused > 100


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_journal_that_is_a_link_or_a_pipe_is_refused(cells: Path, tmp_path: Path) -> None:
    target, other = tmp_path / "out.jsonl", tmp_path / "precious"
    other.write_text("kept")
    journal_path(target).symlink_to(other)
    with pytest.raises(OutputError, match="cannot write"):
        write(cells, target, restart=True)
    assert other.read_text() == "kept"
    journal_path(target).unlink()
    os.mkfifo(journal_path(target))
    with pytest.raises(OutputError, match="is no regular file"):
        write(cells, target)


def test_a_run_whose_journal_is_deleted_still_writes_all_its_cells(
    cells: Path, tmp_path: Path
) -> None:
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    write(cells, whole)

    class Deleted(FakeModel):
        def __call__(self, start: int) -> Iterator[Description]:
            for number, described in enumerate(super().__call__(start)):
                if number == 5:
                    journal_path(target).unlink()
                    journal_path(target).write_text("another run's")
                yield described

    write(cells, target, Deleted())
    assert target.read_bytes() == whole.read_bytes()
    assert journal_path(target).read_text() == "another run's"


def test_a_place_without_locks_is_refused(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(OutputError, match="cannot be locked: No locks available"):
        write(cells, tmp_path / "out.jsonl")


def test_a_long_file_of_cells_is_known_by_samples_and_its_date(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.runtime.output.cells_mark.WHOLE_BYTES", 1000)
    monkeypatch.setattr("c2t.runtime.output.cells_mark.SAMPLE_BYTES", 100)
    target = tmp_path / "out.jsonl"
    interrupted(cells, target)
    content = bytearray(cells.read_bytes())
    content[len(content) // 2] ^= 1
    cells.write_bytes(content)
    with pytest.raises(OutputError, match="changed since"):
        write(cells, target)


def test_two_runs_at_once(cells: Path, tmp_path: Path) -> None:
    class Second(FakeModel):
        def __call__(self, start: int) -> Iterator[Description]:
            with pytest.raises(OutputError, match="another run"):
                write(cells, tmp_path / "out.jsonl")
            yield from super().__call__(start)

    write(cells, tmp_path / "out.jsonl", Second())


def test_a_journal_tells_where_its_lines_begin(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    mark = RunMark(
        bundle="b", cells=CellsMark(name="c", bytes=1, sha256="0", changed=0), rows="r", n_rows=9
    )
    records = [
        Record(
            row=row,
            cell=f"cell{row}",
            text="é" * row,
            confidence=None,
            cell_type_confidence=None,
            genes_used=row,
            error=None,
        )
        for row in range(9)
    ]
    told: list[tuple[int, Record]] = []
    for first, last in ((0, 4), (4, 9)):  # what is there is told again
        told.clear()
        with Journal(
            path, mark, range(9), kind=Record, watch=lambda *cell: told.append(cell)
        ) as journal:
            assert [record for _, record in told] == records[:first]
            for record in records[first:last]:
                journal.append(record)
            journal.sync()
        content = path.read_bytes()
        assert [record for _, record in told] == records[:last]
        for start, record in told:
            assert content[start - 1 : start] == b"\n"
            line = content[start : content.index(b"\n", start) + 1]
            assert read_line(line, "it", Record) == record
    with pytest.raises(OutputError, match="it is damaged"):
        read_line(b'{"row":0}\t00000000\n', "it", Record)
