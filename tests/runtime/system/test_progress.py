"""Progress in a log: a line a minute for long work, none for short work; a bar in a terminal."""

from __future__ import annotations

import sys

import pytest

from c2t.runtime.system.progress import ProgressLog, duration_words, progress_bar, tracked


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def log_of(total: int, *, steps: int, seconds: float, **options) -> list[str]:
    """Lines of work that is done one piece after another, each of so many seconds."""
    clock, lines = Clock(), []
    log = ProgressLog("calibrating", total, clock=clock, write=lines.append, **options)
    for _ in range(steps):
        clock.now += seconds
        log.advance(1)
    log.finish()
    return lines


def test_a_line_a_minute_and_one_at_the_end() -> None:
    assert log_of(32, steps=32, seconds=15, unit="cells") == [
        "calibrating: 4 of 32 cells, 1 min, about 7 min left",
        "calibrating: 8 of 32 cells, 2 min, about 6 min left",
        "calibrating: 12 of 32 cells, 3 min, about 5 min left",
        "calibrating: 16 of 32 cells, 4 min, about 4 min left",
        "calibrating: 20 of 32 cells, 5 min, about 3 min left",
        "calibrating: 24 of 32 cells, 6 min, about 2 min left",
        "calibrating: 28 of 32 cells, 7 min, about 1 min left",
        "calibrating: 32 of 32 cells, 8 min",
    ]


def test_short_work_is_silent() -> None:
    assert log_of(50, steps=50, seconds=1.1, unit="cells") == []


def test_long_pieces_have_a_line_each() -> None:
    assert log_of(3, steps=2, seconds=5400, unit="graphs") == [
        "calibrating: 1 of 3 graphs, 1 h 30 min, about 3 h 0 min left",
        "calibrating: 2 of 3 graphs, 3 h 0 min, about 1 h 30 min left",
        "calibrating: 2 of 3 graphs, 3 h 0 min",
    ]


def test_what_an_earlier_run_did_takes_no_time() -> None:
    first, *_ = log_of(1000, steps=61, seconds=1, unit="cells", done=900)
    assert first == "calibrating: 960 of 1,000 cells, 1 min, about 40 s left"


def test_bytes_and_amounts_without_a_unit() -> None:
    clock, lines = Clock(), []
    for total, unit in ((4_000_000_000, "bytes"), (1000, "")):
        log = ProgressLog("checking", total, unit=unit, clock=clock, write=lines.append)
        clock.now += 60
        log.advance(total // 4)
    assert lines == [
        "checking: 1.0 GB of 4.0 GB, 1 min, about 3 min left",
        "checking: 25 %, 1 min, about 3 min left",
    ]


def test_durations() -> None:
    spoken = [duration_words(seconds) for seconds in (0.4, 59, 60, 3570, 3600, 7500)]
    assert spoken == ["0 s", "59 s", "1 min", "1 h 0 min", "1 h 0 min", "2 h 5 min"]


def test_log_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.runtime.system.progress.LINE_SECONDS", 0.0)
    with progress_bar("building", 2, unit="graphs") as advance:
        advance(1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "building: 1 of 2 graphs, 0 s, about 0 s left",
        "building: 1 of 2 graphs, 0 s",
    ]


def test_items_are_counted_when_the_caller_is_done_with_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.runtime.system.progress.LINE_SECONDS", 0.0)
    items = tracked("verifying", iter("abc"), 3, unit="cells")
    assert next(items) == "a"
    assert capsys.readouterr().err == ""
    assert list(items) == ["b", "c"]
    assert capsys.readouterr().err.splitlines() == [
        "verifying: 1 of 3 cells, 0 s, about 0 s left",
        "verifying: 2 of 3 cells, 0 s, about 0 s left",
        "verifying: 3 of 3 cells, 0 s",
    ]


def test_no_last_line_where_the_work_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.runtime.system.progress.LINE_SECONDS", 0.0)
    with pytest.raises(ZeroDivisionError), progress_bar("writing", 2) as advance:
        advance(1 // 0)
    assert capsys.readouterr().err == ""


def test_bar_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("describing", 4, done=1, unit="cells") as advance:
        advance(3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "describing" in shown.err
    assert "4/4" in shown.err
