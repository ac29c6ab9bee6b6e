"""The page before a bundle that describes no cells: it says which doors do what that can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("playwright")
pytest.importorskip("prometheus_client")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import numpy as np
from ask_bundles import chat_bundle, vector_bundle
from http_service import serving
from page_browser import OpenPage, expect
from serve_cells import GENES, anndata_of, counts
from tiny_data import JOINT

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.room import EngineRoom


@contextmanager
def served(bundle: Path, folder: Path) -> Iterator[tuple[c2t.Model, str]]:
    """A model and the address of its page."""
    with c2t.open(bundle, c2t.DescribeOptions(threads=1, engine="cpu")) as model:
        room = EngineRoom(model)
        jobs = Jobs(room, JobOptions(folder=folder / "jobs"))
        jobs.start()
        with serving(room, jobs=jobs) as service:
            yield model, f"http://127.0.0.1:{service.port}"
        jobs.close()
        room.close()


def table(values: np.ndarray, *, genes_are_lines: bool = False) -> str:
    """Counts as a table: named in the first line and in the first column."""
    names = [f"c{n}" for n in range(len(values))]
    heads, lines, rows = (names, GENES, values.T) if genes_are_lines else (GENES, names, values)
    body = [
        "\t".join([name, *(f"{v:g}" for v in row)]) for name, row in zip(lines, rows, strict=True)
    ]
    return "\n".join(["\t".join(["", *heads]), *body])


@pytest.mark.parametrize("genes_are_lines", [False, True])
def test_a_table_of_cells_is_searched(
    open_page: OpenPage, tmp_path: Path, genes_are_lines: bool
) -> None:
    values = counts(5)
    values[3] = 0
    texts = ["activated T cells", "a monocyte"]
    with served(JOINT, tmp_path) as (model, url):
        page = open_page(url)
        page["#elsewhere-here textarea"].nth(0).fill(table(values, genes_are_lines=genes_are_lines))
        if genes_are_lines:
            page["#elsewhere-here select"].select_option("genes")
        page[".try textarea"].fill("\n".join(texts))
        page.page.get_by_role("button", name="Search").click()
        expect(page[".try h3"]).to_have_text(texts)
        found = model.search(anndata_of(values, "c"), texts)
        for k in range(2):
            rows = page[".try table"].nth(k).locator("tr").all_text_contents()
            best = found.best(k, 10)
            assert rows == [f"c{n}{found.scores[n, k]:.4f}" for n in best]
        expect(page[".try .warning"].first).to_contain_text("1 cell with an error: c3: ")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "there is no table of cells"),
        ("one\ntwo", "the first line has one name only"),
        ("\tG1\tG2\na\t1", "line 2 has 1 counts, the first line 2 names"),
        ("\tG1\tG1\na\t1\t2", "the gene G1 is there twice"),
        ("\tG1\na\t1\na\t2", "the cell a is there twice"),
        ("\tG1\na\tmany", "cell a, gene G1: “many” is no count"),
        ("\tG1\na\t-1", "“-1” is no count"),
        ("\tG1\n" + "\n".join(f"c{n}\t1" for n in range(65)), "there are 65 cells; 64 are taken"),
    ],
)
def test_a_table_that_is_none_is_refused_in_two_lines(
    open_page: OpenPage, tmp_path: Path, given: str, problem: str
) -> None:
    with served(vector_bundle(tmp_path / "asks"), tmp_path) as (_, url):
        page = open_page(url)
        page["#elsewhere-here textarea"].nth(0).fill(given)
        page[".try textarea"].fill("What is it?")
        page.page.get_by_role("button", name="Ask").click()
        expect(page[".try .problem p"]).to_have_count(2)
        expect(page[".try .problem"]).to_contain_text(problem)


def test_cells_of_a_file_are_asked_about(open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    # As R writes it: no name above those of the lines, and names in quotation marks.
    lines = table(counts(2)).replace("\t", ",").splitlines()
    lines[0] = lines[0].removeprefix(",")
    path.write_text("\n".join([lines[0], *(f'"{line[:2]}"{line[2:]}' for line in lines[1:])]))
    with served(vector_bundle(tmp_path / "asks"), tmp_path) as (model, url):
        page = open_page(url)
        page["#elsewhere-here input[type=file]"].set_input_files(path)
        page[".try textarea"].fill("What is it?")
        page.page.get_by_role("button", name="Ask").click()
        expect(page[".try figure"]).to_have_count(2)
        expected = [answer.text for answer in model.ask(anndata_of(counts(2), "c"), "What is it?")]
        assert page[".try figure p"].all_text_contents() == expected


def test_a_cell_that_is_read_is_asked_about(open_page: OpenPage, tmp_path: Path) -> None:
    data = anndata_of(counts(4))
    data.write_h5ad(tmp_path / "cells.h5ad")
    with served(chat_bundle(tmp_path / "chat"), tmp_path) as (model, url):
        page = open_page(url)
        page.give(tmp_path / "cells.h5ad")
        page.count("4 cells")
        page["#table"].press("Home")
        page["#table"].press("Enter")
        expect(page["#reading .cell-id"]).to_have_text("cell0")
        expect(page["#reading"].get_by_role("button", name="Which genes")).to_have_count(0)
        page.page.get_by_label("Question about this cell").fill("What is it?")
        page.page.get_by_role("button", name="Ask about this cell").click()
        (first, *_) = model.ask(data, "What is it?")
        expect(page[".asking .answer .written"]).to_have_text(first.text or "")


@pytest.mark.parametrize(
    ("family", "said", "unsaid"),
    [
        ("cellwhisperer", ["search", "annotate", "embed"], ["ask"]),
        ("cell2text", ["ask", "embed"], ["search", "annotate"]),
    ],
)
def test_the_page_says_which_doors_do_it(
    open_page: OpenPage,
    cells: Path,
    tmp_path: Path,
    family: str,
    said: list[str],
    unsaid: list[str],
) -> None:
    bundle = JOINT if family == "cellwhisperer" else vector_bundle(tmp_path / "asks")
    with c2t.open(bundle, c2t.DescribeOptions(threads=1, engine="cpu")) as model:
        room = EngineRoom(model)
        jobs = Jobs(room, JobOptions(folder=tmp_path / "jobs"))
        jobs.start()
        with serving(room, jobs=jobs) as service:
            page = open_page(f"http://127.0.0.1:{service.port}")
            expect(page["#elsewhere"]).to_be_visible()
            expect(page["#elsewhere-title"]).to_have_text("This model describes no cells")
            expect(page["#elsewhere-can"]).to_contain_text(f"({family}) cannot describe cells")
            expect(page["#new"]).to_be_hidden()
            doors = page["#elsewhere-doors"].text_content() or ""
            for task in said:
                assert f"POST /v1/{task}" in doors
                assert f"c2t {task} BUNDLE" in doors
            for task in unsaid:
                assert task not in doors
            page.drop(cells)  # is not sent: nothing could be done with it
            page.page.wait_for_timeout(300)
            expect(page["#jobs"]).to_contain_text("None yet")
            expect(page["#new-problem"]).to_be_hidden()
        jobs.close()
        room.close()


def test_a_bundle_that_describes_has_its_form(open_page: OpenPage, service: str) -> None:
    page = open_page(service)
    expect(page["#bundle"]).to_contain_text("Bundle")
    expect(page["#new"]).to_be_visible()
    expect(page["#elsewhere"]).to_be_hidden()
