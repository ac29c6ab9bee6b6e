"""`c2t describe --unsure-below`: what is marked, what is refused, and what is another run."""

import json
from pathlib import Path

from cli_process import Command
from unsure_rules import bundle_with, make_rule

from c2t.runtime.describe.describer import Describer


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_unsure_cells_are_marked_where_a_threshold_is_in_force(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    stating = bundle_with(make_rule(), bundle, tmp_path / "stating")
    for source, more, marked, sentence in (
        (bundle, (), False, ""),
        (bundle, ("--unsure-below", "0.5"), True, "cell_type_confidence below 0.5"),
        (stating, (), True, "below 0.3 are marked unsure, by the bundle's own"),
        (stating, ("--unsure-below", "auto"), True, "below 0.3 are marked unsure, by the bundle's"),
        (stating, ("--unsure-below", "0.4"), True, "cell_type_probability below 0.4"),
    ):
        out = tmp_path / "out.jsonl"
        done = call_c2t("describe", source, cells, "-o", out, "--force", "--limit", 4, *more)
        assert done.returncode == 0, done.stderr
        assert sentence in done.stderr
        # Random weights name no cell type: no cell has a sure answer, the failed one least of all.
        assert [r.get("unsure") for r in records(out)] == [True if marked else None] * 4


def test_thresholds_that_are_none_are_refused(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    for below, problem, hint, code in (
        ("auto", "states no threshold for unsure cells", "c2t evaluate --fit-unsure", 1),
        ("1.5", "--unsure-below is '1.5'", "from 0 to 1", 2),
        ("often", "--unsure-below is 'often'", '"auto"', 2),
        ("nan", "--unsure-below is 'nan'", "from 0 to 1", 2),
    ):
        out = tmp_path / "out.jsonl"
        done = call_c2t("describe", bundle, cells, "-o", out, "--unsure-below", below)
        assert done.returncode == code
        error, help_ = done.stderr.splitlines()[-2:]
        assert problem in error
        assert hint in help_
        assert list(tmp_path.iterdir()) == []


def test_another_threshold_is_another_run(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path, monkeypatch
) -> None:
    plain = Describer.describe

    def stop(self, *given, **more):
        for number, description in enumerate(plain(self, *given, **more)):
            if number == 3:
                raise KeyboardInterrupt
            yield description

    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(Describer, "describe", stop)
    call_c2t("describe", bundle, cells, "-o", out, "--unsure-below", "0.5")
    monkeypatch.undo()
    done = call_c2t("describe", bundle, cells, "-o", out, "--unsure-below", "0.6")
    assert done.returncode == 1
    assert "unsure below (0.5 (cell_type_confidence), now 0.6" in done.stderr
