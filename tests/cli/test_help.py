"""`c2t help`: the how-to pages without a network, and the errors that lead to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import run_c2t

from c2t.runtime.command_line.help_pages import page_text, page_titles


def test_all_pages_are_listed() -> None:
    done = run_c2t("help")
    assert done.returncode == 0
    assert "`c2t help PAGE` shows one of these" in done.stderr
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert listed == sorted(listed)
    assert {"formats", "problems", "service", "trust"} <= set(listed)
    assert "formats        Files of cells\n" in done.stdout


def test_a_page_is_shown_as_text() -> None:
    done = run_c2t("help", "problems")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Problems\n\nAn error of c2t is two lines: ")
    assert "another species (`c2t help formats`)" in done.stdout


@pytest.mark.parametrize("name", page_titles())
def test_no_page_shows_markup_of_the_site(name: str) -> None:
    text = page_text(name)
    assert text.startswith("# ")
    for markup in ("<!--", "](", "{{", "```{"):
        assert markup not in text


def test_links_in_code_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from c2t.runtime.command_line import help_pages

    page = "# A\n\n[b](ask.md#x), [c `d`](https://e.org), [f](../x/y.md)\n```\n[b](ask.md)\n```\n"
    (tmp_path / "a.md").write_text(f"{page}a <!--=f.json b as n-->1<!--/--> cell\n")
    monkeypatch.setattr(help_pages, "_folder", lambda: tmp_path)
    text = "# A\n\nb (`c2t help ask`), c `d` (https://e.org), f\n```\n[b](ask.md)\n```\na 1 cell\n"
    assert help_pages.page_text("a") == text


def test_words_lead_to_sections() -> None:
    done = run_c2t("help", "orthologues", "MOUSE")
    assert done.returncode == 0
    assert "formats        Another species\n" in done.stdout
    assert "`c2t COMMAND --help`" in done.stderr
    assert "windows" not in done.stdout


def test_words_that_stand_nowhere() -> None:
    done = run_c2t("help", "xyzzy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: no page is called 'xyzzy', and none says that\n"
        "hint: `c2t help` lists the pages, and `c2t COMMAND --help` says what a command takes\n"
    )


def test_an_error_leads_to_its_page(bundle: Path, tmp_path: Path) -> None:
    cells = tmp_path / "cells.csv"
    names = ",".join(f"ENSG{n:011d}" for n in range(1, 61))
    cells.write_text(f"cell,{names}\n" + "a" + ",-1.5" * 60 + "\n")
    done = run_c2t("describe", bundle, cells)
    assert done.returncode == 1
    problem, hint = done.stderr.splitlines()[-2:]
    assert problem.startswith("error: no counts found")
    assert hint.startswith("hint: ")
    command = hint.rpartition("see `c2t ")[2].rstrip("`").split()
    assert run_c2t(*command).stdout.startswith("# Files of cells\n")
