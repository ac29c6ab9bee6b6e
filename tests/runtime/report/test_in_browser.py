"""The page in headless Chromium: nothing runs, nothing is fetched, all is seen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from described_cells import caption, described_file, record, type_of

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: c2t[dev]")

from page_browser import CHROMIUM, FLAGS, Watched  # after the skip
from playwright.sync_api import sync_playwright

from c2t.runtime.output.record import Record
from c2t.runtime.report.cells import CellsAsked
from c2t.runtime.report.report import ReportOptions
from c2t.runtime.report.write import WriteReportOptions, write_report

NASTY = (
    '<script>document.title = "taken"</script><img src="https://192.0.2.1/x" onerror="alert(1)">'
)
LONG = "CD4-positive CD25-positive alpha-beta regulatory lymphocyte of the lamina propria of mucosa"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium here (set C2T_CHROMIUM)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    types = [NASTY if n == 4 else LONG if n % 10 == 7 else type_of(n) for n in range(120)]
    ids = [f"{NASTY}{n}" for n in range(120)]
    records: list[Record] = [record(n, ids[n], types[n]) for n in range(120)]
    records[8] = record(8, ids[8], None, error=NASTY)
    path = described_file(folder, ids=ids, types=types, records=records)
    output = folder / "page.html"
    about = ReportOptions(cells=CellsAsked(labels="own"))
    write_report(WriteReportOptions(results=path, output=output, about=about))
    return output


@pytest.fixture(params=["light", "dark"])
def opened(browser: Any, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Watched]:
    context = browser.new_context(
        color_scheme=request.param, viewport={"width": 1100, "height": 900}
    )
    watched = Watched(context, page_file.as_uri())
    yield watched
    assert not watched.foreign
    assert not watched.complaints
    context.close()


def test_nothing_runs_and_all_is_there(opened: Watched) -> None:
    assert opened.page.title() == "Cell descriptions: described"
    assert opened["h2"].all_inner_texts()[:3] == ["The cells", "Cell types", "Each type"]
    assert opened["article.type"].count() == 5
    assert caption("B cell") in opened["blockquote"].all_inner_texts()
    assert NASTY in opened["body"].inner_text()
    # Every cell with a place is drawn, in one path for each type and one for what is no type.
    drawn = opened.page.evaluate(
        "[...document.querySelectorAll('svg path')]"
        ".map(p => p.getAttribute('d').split('M').length - 1).reduce((a, b) => a + b)"
    )
    assert drawn == 120


def test_whole_labels_and_readable_letters(opened: Watched) -> None:
    cut = opened.page.evaluate(
        "[...document.querySelectorAll('.legend .name, .matrix th, .upright, .types th')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)"
        ".map(e => e.textContent)"
    )
    assert not cut
    upright = opened[".upright"].all_inner_texts()
    assert LONG in upright
    # Letters against their paper: at least 4.5 to 1 (WCAG 2.2, AA).
    faint = opened.page.evaluate(
        """() => {
        const part = n => {
          const c = n / 255;
          return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        };
        const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
        const numbers = text => text.match(/[\\d.]+/g).map(Number);
        const paper = element => {
          const layers = [];
          for (let e = element; e; e = e.parentElement) {
            const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
            layers.push([r, g, b, a]);
            if (a === 1) break;
          }
          const over = (below, [r, g, b, a]) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
          return layers.reverse().reduce(over, [255, 255, 255]);
        };
        const found = [];
        for (const e of document.querySelectorAll('body *')) {
          const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
          if (!own || e.closest('svg') || e.classList.contains('skip')) continue;
          const a = light(numbers(getComputedStyle(e).color)), b = light(paper(e));
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (ratio < 4.5) found.push([e.className, e.textContent.slice(0, 40), ratio]);
        }
        return found;
        }"""
    )
    assert not faint


def test_keys_reach_what_scrolls_and_pictures_have_names(opened: Watched) -> None:
    tables = opened["table"].count()
    assert opened.page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0 && e.ariaLabel)"
    )
    assert opened[".scroll"].count() == tables
    assert opened.page.evaluate(
        "[...document.querySelectorAll('svg')].every(e => e.querySelector('title').textContent)"
    )
    order = opened.page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))"
    )
    assert order[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(order))
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.className") == "skip"


@pytest.mark.parametrize("width", [390, 687])
def test_nothing_is_wider_than_a_phone_or_printed_paper(
    browser: Any, page_file: Path, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    watched = Watched(context, page_file.as_uri())
    if width == 687:  # A4 less its margins
        watched.page.emulate_media(media="print")
    widest = watched.page.evaluate("document.documentElement.scrollWidth")
    assert widest <= width
    context.close()


def test_it_prints_on_white(browser: Any, page_file: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    watched = Watched(context, page_file.as_uri())
    watched.page.emulate_media(media="print", color_scheme="dark")
    ink = watched.page.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(17, 17, 17)"
    assert watched.page.pdf(format="A4").startswith(b"%PDF")
    context.close()
