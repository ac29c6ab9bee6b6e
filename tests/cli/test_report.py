"""`c2t report` on the command line: what it says, and what it refuses in two lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_process import Command, run_c2t
from described_cells import described_file, lines_file, record, type_of


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return described_file(tmp_path_factory.mktemp("described"))


def test_a_page_is_written(described: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run_c2t("report", described, "-o", page, "--labels", "own", "--title", "My cells & I")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == f"wrote {page}: 60 cells, 3 types\n"
    text = page.read_text(encoding="utf-8")
    assert "<h1>My cells &amp; I</h1>" in text
    assert text.startswith("<!DOCTYPE html>")


def test_describe_and_report(
    call_c2t: Command, tiny_bundle_folder: Path, cells: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "out.jsonl"
    done = call_c2t("describe", tiny_bundle_folder, cells, "-o", lines, "--max-new-tokens", 6)
    assert done.returncode == 0, done.stderr
    done = call_c2t("report", lines, "--cells", cells, "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Not described" in text


def test_a_label_map(described: Path, call_c2t: Command, tmp_path: Path) -> None:
    names = {"B": "B cell", "T lymph": "T cell", "Mono": "monocyte"}
    (tmp_path / "map.json").write_text(json.dumps(names))
    page = tmp_path / "page.html"
    given = ("--labels", "own", "--label-map", tmp_path / "map.json")
    assert call_c2t("report", described, "-o", page, *given).returncode == 0
    assert "60 of 60 labelled cells" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["RESULTS", "-o", "page.html", "--labels", "nope"], 1, "/obs/nope is missing"),
        (["RESULTS", "-o", "page.txt"], 1, "no name of a page"),
        (["RESULTS", "-o", "none/page.html"], 1, "none"),
        (["CELLS", "-o", "page.html"], 1, "not described"),
        (["none.jsonl", "-o", "page.html"], 1, "no such file: none.jsonl"),
        (["LINES", "-o", "page.html", "--labels", "own"], 1, "no column 'own'"),
        (["LINES", "-o", "page.html", "--cells", "RESULTS"], 1, "are not in"),
        (["RESULTS", "-o", "page.html", "--groups", "none.csv"], 1, "none.csv"),
        (["RESULTS", "-o", "page.html", "--label-map", "none.json"], 2, "no labels are compared"),
        (["RESULTS", "-o", "page.html", "--genes", "-1"], 2, "--genes"),
        (["RESULTS"], 2, "--output"),
    ],
)
def test_bad_input_in_two_lines_and_nothing_written(
    described: Path,
    call_c2t: Command,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    lines = lines_file(tmp_path / "lines.jsonl", [record(0, "elsewhere", type_of(0))])
    places = {
        "RESULTS": described,
        "CELLS": described.with_name("cells.h5ad"),
        "LINES": lines,
    }
    done = call_c2t("report", *(places.get(word, word) for word in arguments), cwd=tmp_path)
    assert done.returncode == code
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert hint.startswith("hint: ")
    assert [path.name for path in tmp_path.iterdir()] == ["lines.jsonl"]


def test_an_existing_page_stays(described: Path, call_c2t: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    done = call_c2t("report", described, "-o", page)
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert page.read_text() == "mine"
    assert call_c2t("report", described, "-o", page, "--force").returncode == 0
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_standard_error_has_no_control_characters(call_c2t: Command, tmp_path: Path) -> None:
    lines = lines_file(tmp_path / "lines.jsonl", [record(0, "\x1b[31mred", type_of(0))])
    described = described_file(tmp_path)
    done = call_c2t("report", lines, "--cells", described, "-o", tmp_path / "page.html")
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
