"""A report's page, taken apart and looked at for what no page may have."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from c2t.runtime.report.cells import CellsAsked
from c2t.runtime.report.page import POLICY, make_page
from c2t.runtime.report.report import Report, ReportOptions, make_report
from c2t.runtime.report.results import read_results

NASTY = "<script>alert(1)</script>"
VOID = {"meta"}


class Page(HTMLParser):
    """A page taken apart: its elements, its attributes, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [str(found[name]) for _, found in self.elements if name in found]


def report(path: Path, /, **asked: Any) -> Report:
    return make_report(read_results(path), ReportOptions(cells=CellsAsked(**asked)))


def page_of(made: Report) -> Page:
    text = make_page(made)
    page = Page(text)
    names = [name for name, _ in page.elements]
    assert "script" not in names
    assert not [n for _, found in page.elements for n in found if n.startswith("on")]
    policies = page.attributes("http-equiv")
    assert policies == ["Content-Security-Policy"]
    assert POLICY in page.attributes("content")
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    for address in page.attributes("href"):
        assert address.startswith(
            ("#", "http://purl.obolibrary.org/obo/", "data:image/png;base64,")
        )
        assert not address.startswith("#") or address[1:] in ids
    assert not page.attributes("src")
    return page
