"""A file goes in, its descriptions come out: as a person at the instrument does it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from decoder_gate import Gate

pytest.importorskip("httpx")
pytest.importorskip("playwright")
pytest.importorskip("prometheus_client")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from page_browser import OpenPage, Serve, expect
from page_cells import CELLS, EVIL, described_records

ALL = f"{CELLS} cells"


def test_a_dropped_file_is_described_and_shown(
    open_page: OpenPage, service: str, cells: Path, described: Path
) -> None:
    page = open_page(service)
    expect(page["#jobs"]).to_contain_text("None yet")
    page.drop(cells)
    page.count(ALL)
    expect(page["#job-title"]).to_have_text(cells.name)
    expect(page["#job-facts"]).to_contain_text("done, 1 with errors")
    expect(page["#axes"]).to_have_text("x, y: obsm X_umap")
    records = described_records(described)
    for row, record in enumerate(records[:5]):
        line = page[f"#row-{row}"]
        expect(line).to_contain_text(record["cell"])
        assert line.locator(".c5").text_content() == (record["error"] or record["text"])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "h5ad"])
def test_an_export_is_what_describe_writes(
    open_page: OpenPage, result: str, described: Path, kind: str
) -> None:
    page = open_page(result)
    page.count(ALL)
    titles = {"jsonl": "JSON lines", "csv": "CSV", "parquet": "Parquet", "h5ad": "H5AD"}
    page["#export summary"].click()
    with page.page.expect_download() as saved:
        page["#export-items"].get_by_text(titles[kind], exact=True).click()
    assert saved.value.suggested_filename == f"three groups.{'c2t.' * (kind == 'h5ad')}{kind}"
    found, expected = Path(saved.value.path()), described / f"described.{kind}"
    if kind in ("jsonl", "csv"):
        assert found.read_bytes() == expected.read_bytes()
    elif kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(found).to_pylist() == parquet.read_table(expected).to_pylist()
    else:
        anndata = pytest.importorskip("anndata")
        left, right = anndata.read_h5ad(found).obs, anndata.read_h5ad(expected).obs
        assert left.equals(right)


def test_shown_cells_are_saved_as_the_lines_of_describe(
    open_page: OpenPage, result: str, described: Path
) -> None:
    page = open_page(result)
    page.count(ALL)
    page["#colour-by"].select_option("obs:side")
    page["#groups button"].filter(has_text=EVIL).click()
    page.count(f"20 of {ALL}")
    with page.page.expect_download() as saved:
        page["#reading"].get_by_text("Save these 20 cells as CSV").click()
    records = described_records(described)
    with Path(saved.value.path()).open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == list(records[0])
    written = [
        ["" if value is None else str(value) for value in record.values()] for record in records
    ]
    assert rows == written[2::3]


def test_jobs_outlive_a_reload_and_a_restart(
    open_page: OpenPage, serve: Serve, cells: Path, tmp_path: Path
) -> None:
    with serve(tmp_path / "jobs") as url:
        page = open_page(url)
        page.give(cells)
        page.count(ALL)
        page.page.reload()
        page.count(ALL)
    with serve(tmp_path / "jobs") as url:
        page = open_page(url)
        page["#jobs"].get_by_text(cells.name).click()
        page.count(ALL)
        page["#job-remove"].click()
        page["#sure-yes"].click()
        expect(page["#jobs"]).to_contain_text("None yet")


def test_progress_is_shown_and_a_file_can_be_stopped(
    open_page: OpenPage, service: str, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    page = open_page(service)
    page.give(cells)
    expect(page["#progress"]).to_be_visible()
    expect(page["#progress-words"]).to_have_text(f"0 of {ALL}")
    page[".top .mark"].click()
    expect(page["#jobs"]).to_contain_text("running")
    page["#jobs a"].click()
    page["#job-remove"].click()
    page["#sure-yes"].click()
    gate.open()
    expect(page["#job-facts"]).to_contain_text("stopped")
    expect(page["#progress"]).to_be_hidden()
    page.said("Stopped")


def test_a_job_that_runs_is_shown_while_it_goes_on(
    open_page: OpenPage, service: str, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    page = open_page(service)
    page.give(cells)
    expect(page["#progress-words"]).to_have_text(f"0 of {ALL}")
    gate.open()
    page.said(f"Done: {ALL} described")
    page.count(ALL)


def test_a_file_is_refused_in_two_lines(open_page: OpenPage, service: str, tmp_path: Path) -> None:
    broken = tmp_path / "notes.h5ad"
    broken.write_text("these are no cells")
    page = open_page(service)
    page.expected = {422}
    page.give(broken)
    problem = page[".problem:visible"]
    expect(problem.locator("p")).to_have_count(2)
    expect(problem.locator("p").first).to_contain_text("notes.h5ad")
    expect(problem.locator(".hint")).not_to_be_empty()


def test_settings_reach_the_service(open_page: OpenPage, service: str, cells: Path) -> None:
    page = open_page(service)
    page["details.options summary"].first.click()
    page["[name=limit]"].fill("7")
    page["[name=max_new_tokens]"].fill("5")
    page["[name=counts_are]"].select_option("counts")
    page.give(cells)
    page.count("7 cells")
    for words in ("at most 5 tokens", "values are counts"):
        expect(page["#job-facts"]).to_contain_text(words)


def test_groups_are_asked_for(
    open_page: OpenPage, serve: Serve, cells: Path, tmp_path: Path
) -> None:
    """Of a file that is sent, and of one that lies where the service runs."""
    with serve(tmp_path / "jobs", allowed=(cells.parent,)) as url:
        for sent in (True, False):
            page = open_page(url)
            page["details.options summary"].first.click()
            page["[name=group_by]"].fill("side")
            if sent:
                page.give(cells)
            else:
                page["#here summary"].click()
                page["#path"].fill(str(cells))
                page.page.keyboard.press("Enter")
            page.count(ALL)
            page["#export summary"].click()
            expect(page["#export-items"]).to_contain_text("an answer for each group")


def test_a_table_of_orthologues_is_asked_for(
    open_page: OpenPage, service: str, cells: Path
) -> None:
    page = open_page(service)
    page.expected = {403}
    page["details.options summary"].first.click()
    page["[name=species]"].fill("mouse")
    page["[name=orthologues]"].fill("/etc/passwd")
    page.give(cells)
    expect(page["#new-problem"]).to_contain_text("the table of orthologues: /etc/passwd")
    expect(page["#new-problem .hint"]).to_contain_text("--allow-folder")


def test_a_setting_that_cannot_be_is_named(open_page: OpenPage, service: str, cells: Path) -> None:
    page = open_page(service)
    page.expected = {422}
    page["details.options summary"].first.click()
    page["[name=max_new_tokens]"].fill("99999999")
    page.give(cells)
    expect(page["#new-problem"]).to_contain_text("max_new_tokens")


def test_a_file_that_lies_where_the_service_runs(
    open_page: OpenPage, serve: Serve, cells: Path, tmp_path: Path
) -> None:
    with serve(tmp_path / "jobs", allowed=(cells.parent,)) as url:
        page = open_page(url)
        page.expected = {403}
        page["#here summary"].click()
        page["#path"].fill("/etc/passwd")
        page["#here button"].click()
        expect(page["#new-problem"]).to_contain_text("/etc/passwd")
        page["#path"].fill(str(cells))
        page.page.keyboard.press("Enter")
        page.count(ALL)


def test_a_token_is_asked_for_and_never_stored(
    open_page: OpenPage, serve: Serve, cells: Path, tmp_path: Path
) -> None:
    token = "a-token-that-is-long-enough"
    with serve(tmp_path / "jobs", token=token) as url:
        page = open_page(url)
        page.expected = {401}
        page["#token"].fill("a-token-that-is-not-right")
        page.page.keyboard.press("Enter")
        expect(page["#token-problem"]).to_contain_text("not this service's")
        page["#token"].fill(token)
        page.page.keyboard.press("Enter")
        expect(page["#bundle"]).to_contain_text("Bundle tiny")
        page.give(cells)
        page.count(ALL)
        page["#export summary"].click()
        with page.page.expect_download() as saved:
            page["#export-items"].get_by_text("CSV", exact=True).click()
        assert Path(saved.value.path()).read_text().count("\n") >= CELLS
        stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        assert token not in page.page.evaluate(stored)
        assert token not in page.page.url
        page.page.reload()
        expect(page["#token-dialog"]).to_be_visible()
