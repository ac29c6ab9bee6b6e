"""What a person does with described cells: search, point, draw, walk by keyboard, read."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("playwright")
pytest.importorskip("prometheus_client")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from page_browser import OpenPage, Watched, expect
from page_cells import CELLS, EVIL, described_records

ALL = f"{CELLS} cells"
GROUP = CELLS // 3


@pytest.fixture
def page(open_page: OpenPage, result: str) -> Watched:
    page = open_page(result, viewport={"width": 1280, "height": 800})
    page.count(ALL)
    page["#colour-by"].select_option("obs:side")
    return page


def test_a_group_of_the_legend_narrows_everything_and_gives_it_back(page: Watched) -> None:
    left = page["#groups button"].filter(has_text="left")
    expect(page["#groups tbody tr"]).to_have_count(3)
    left.click()
    page.count(f"{GROUP} of {ALL}")
    expect(left).to_have_attribute("aria-pressed", "true")
    expect(page["#table"]).to_have_attribute("aria-rowcount", str(GROUP + 1))
    expect(page["#reading h2"]).to_have_text("left")
    page.said(f"{GROUP} cells of {CELLS} shown")
    left.click()
    page.count(ALL)


def test_a_lasso_takes_the_cells_inside_it(page: Watched, described: Path) -> None:
    page["[data-tool=lasso]"].click()
    corners = [(0.3, 0.02), (0.7, 0.02), (0.7, 0.45), (0.3, 0.45)]  # around the upper group
    mouse = page.page.mouse
    mouse.move(*page.on_map(*corners[0]))
    mouse.down()
    for corner in (*corners[1:], corners[0]):
        mouse.move(*page.on_map(*corner), steps=4)
    mouse.up()
    page.count(f"{GROUP} of {ALL}")
    expect(page["#reading h2"]).to_have_text(f"{GROUP} cells in the lasso")
    shown = page["#table .table-rows .c1"].all_text_contents()
    records = described_records(described)
    assert shown == [record["cell"] for record in records[2::3]][: len(shown)]
    page["#chips button"].click()
    page.count(ALL)


def test_a_box_by_mouse_and_by_keyboard_takes_the_same_cells(page: Watched) -> None:
    page["[data-tool=rectangle]"].click()
    mouse = page.page.mouse
    mouse.move(*page.on_map(0.01, 0.4))
    mouse.down()
    mouse.move(*page.on_map(0.5, 0.98), steps=5)
    mouse.up()
    page.count(f"{GROUP} of {ALL}")
    page["#table"].focus()
    page.page.keyboard.press("Escape")
    page.count(ALL)
    page["#map"].focus()
    keyboard = page.page.keyboard
    keyboard.press("PageDown")
    keyboard.press("Space")
    page.said("Corner set")
    for _ in range(30):
        keyboard.press("ArrowDown")
    keyboard.press("Space")
    expect(page["#chips"]).to_contain_text("in the rectangle")


def test_pointing_tells_a_cell_and_a_click_reads_it(page: Watched, described: Path) -> None:
    records = {record["cell"]: record for record in described_records(described)}
    steps = [(x / 60, y / 30) for y in range(30) for x in range(60)]
    for place in steps:
        page.page.mouse.move(*page.on_map(*place))
        if "over-cell" in (page["#map"].get_attribute("class") or ""):
            break
    else:
        pytest.fail("no cell was met")
    expect(page["#tip b"]).to_contain_text("cell")
    page.page.mouse.click(*page.on_map(*place))
    heading = page["#reading h2.cell-id"]
    expect(page["#reading .written"]).to_be_visible()
    record = records[heading.inner_text()]
    assert page["#reading .written"].text_content() == record["text"]
    expect(page["#reading .facts"]).to_contain_text(f"Genes used{record['genes_used']}")
    expect(page["#reading .facts"]).to_contain_text("side")


def test_walking_over_the_map_by_keyboard_is_said(page: Watched) -> None:
    page["#map"].focus()
    keyboard = page.page.keyboard
    keyboard.press("PageDown")
    page.said(f"{EVIL}, {GROUP} cells, median confidence 0.")
    keyboard.press("PageDown")
    page.said(f"left, {GROUP} cells, median confidence 0.")
    keyboard.press("ArrowRight")
    page.said("confidence 0.")
    keyboard.press("Enter")
    expect(page["#reading h2.cell-id"]).to_be_focused()
    keyboard.press("Escape")
    expect(page["#reading h2"]).to_have_text("All cells")


def test_the_table_is_walked_sorted_and_read_by_keyboard(page: Watched, described: Path) -> None:
    records = described_records(described)
    keyboard = page.page.keyboard
    page["#table"].focus()
    keyboard.press("End")
    keyboard.press("Enter")
    expect(page["#reading h2"]).to_have_text(records[-1]["cell"])
    head = page["#table [role=columnheader]"]
    head.get_by_text("Confidence").click()
    expect(head.nth(3)).to_have_attribute("aria-sort", "ascending")
    sure = [record["confidence"] for record in records]
    lowest = min(range(CELLS), key=lambda row: (sure[row] is None, sure[row]))
    expect(page["#row-0 .c0"]).to_have_text(str(lowest + 1))
    head.get_by_text("Confidence").click()
    expect(head.nth(3)).to_have_attribute("aria-sort", "descending")
    head.get_by_text("Text").click()  # cells with an error first
    expect(page["#row-0 .c0"]).to_have_text("4")
    expect(page["#row-0 .c5"]).to_have_text(records[3]["error"])


def test_search_finds_groups_ids_and_words(page: Watched, described: Path) -> None:
    records = described_records(described)
    keyboard = page.page.keyboard
    keyboard.press("/")
    expect(page["#search"]).to_be_focused()
    keyboard.type("RIGHT")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    page.count(f"{GROUP} of {ALL}")
    page["#chips button"].click()
    for words in ("cell12", records[0]["text"][5:25]):
        found = [
            record
            for record in records
            if words.lower()
            in f"{record['cell']}\n{record['text'] or ''}\n{record['error'] or ''}".lower()
        ]
        page["#search"].fill(words)
        keyboard.press("Enter")
        expect(page["#chips button"]).to_have_count(1)
        page.count(f"{len(found)} of {ALL}")
        expect(page["#row-0 .c1"]).to_have_text(found[0]["cell"])
        page["#chips button"].click()
    page["#search"].fill("nothing like this")
    keyboard.press("Enter")
    page.count(f"0 of {ALL}")
    expect(page["#table-empty"]).to_be_visible()


def test_filters_by_confidence_and_error(page: Watched, described: Path) -> None:
    records = described_records(described)
    median = sorted(record["confidence"] or 0 for record in records)[CELLS // 2]
    wanted = sum(1 for record in records if (record["confidence"] or 0) > median + 1e-7)
    page["#filter summary"].click()
    page["#filter [name=from]"].fill(str(median + 1e-6))
    page.page.keyboard.press("Enter")
    page.count(f"{wanted} of {ALL}")
    page["#filter summary"].click()
    page["#filter [name=from]"].fill("")
    page["#filter [name=errors]"].select_option("1")
    page["#filter button"].click()
    page.count(f"1 of {ALL}")
    expect(page["#row-0 .c5"]).to_have_text(records[3]["error"])


def test_evil_names_are_only_words(page: Watched) -> None:
    group = page["#groups button"].filter(has_text=EVIL)
    group.click()
    page.count(f"{GROUP} of {ALL}")
    expect(page["#reading h2"]).to_have_text(EVIL)
    group.click()
    page["#search"].fill("<img")
    expect(page["#search-list"]).to_contain_text(EVIL)
    page.page.keyboard.press("Enter")
    page.count(f"1 of {ALL}")
    expect(page["#row-0 .c1"]).to_have_text(EVIL)
    page["#row-0"].click()
    expect(page["#reading h2"]).to_have_text(EVIL)
    page["#map"].focus()
    page.page.keyboard.press("ArrowRight")
    page.said(EVIL)
    assert page["img:not(.mark img)"].count() == 0


def test_colours_follow_the_system_and_the_switch(open_page: OpenPage, result: str) -> None:
    page = open_page(result, color_scheme="dark")
    page.count(ALL)
    root = page["html"]
    expect(root).to_have_attribute("data-theme", "dark")
    dark = page.page.evaluate("getComputedStyle(document.body).color")
    page["#theme"].select_option("light")
    expect(root).to_have_attribute("data-theme", "light")
    assert page.page.evaluate("getComputedStyle(document.body).color") != dark
    page.page.reload()
    expect(root).to_have_attribute("data-theme", "light")


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (390, 844)])
def test_nothing_is_wider_than_the_screen(
    open_page: OpenPage, result: str, width: int, height: int
) -> None:
    page = open_page(result, viewport={"width": width, "height": height})
    page.count(ALL)
    for element in ("#map", "#table", "#reading", ".status .use"):
        page[element].scroll_into_view_if_needed()
        expect(page[element]).to_be_visible()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_intended_use_and_the_bundle_are_always_seen(page: Watched) -> None:
    words = "Written by a model: for review by a person; not for critical decisions."
    for view in ("#job", "#start"):
        expect(page[view]).to_be_visible()
        expect(page[".status .use"]).to_be_in_viewport()
        expect(page[".status .use"]).to_contain_text(words)
        expect(page["#bundle"]).to_contain_text("Bundle tiny")
        expect(page["#bundle"]).to_contain_text("random weights")
        page[".top .mark"].click()


def test_every_control_has_a_name_and_is_reached_by_tab(page: Watched) -> None:
    unnamed = page.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, summary, a")]
        .filter((e) => e.checkVisibility())
        .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
        .map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    met = set()
    page["body"].press("Tab")
    for _ in range(60):
        page.page.keyboard.press("Tab")
        met.add(page.page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"search", "map", "table", "colour-by", "zoom-fit", "group"} <= met
