"""A page in headless Chromium, with all that it asked for and complained about."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

CHROMIUM = os.environ.get("C2T_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=30_000)


class Watched:
    """An opened page.

    Attributes:
        foreign: Addresses of requests to another host.
        complaints: What the console called an error, and errors that nothing caught. A refusal of
            the service that a test provokes is named in `expected`, by its status.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.expected: set[int] = set()
        self.page: Page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("request", self._asked)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._interrupted)
        self.page.goto(url)

    def __getitem__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def give(self, path: Path) -> None:
        """Choose a file."""
        self.page.set_input_files("#file", path)

    def drop(self, path: Path) -> None:
        """Drop a file on the page, as from a file manager."""
        content = list(path.read_bytes())
        transfer = self.page.evaluate_handle(
            "([content, name]) => { const all = new DataTransfer();"
            " all.items.add(new File([new Uint8Array(content)], name)); return all; }",
            [content, path.name],
        )
        for event in ("dragenter", "dragover", "drop"):
            self.page.dispatch_event("#drop", event, {"dataTransfer": transfer})

    def count(self, words: str) -> None:
        """Wait until this many cells are shown."""
        expect(self["#count"]).to_have_text(words)

    def said(self, words: Any) -> None:
        """Wait until a screen reader is told this."""
        expect(self["#live"]).to_contain_text(words)

    def on_map(self, x: float, y: float) -> tuple[float, float]:
        """A place of the map, by its share of the width and the height, on the page."""
        box = self["#map"].bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc and request.url[:5] != "blob:":
            self.foreign.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        if any(f"status of {status}" in message.text for status in self.expected):
            return
        self.complaints.append(message.text)

    def _interrupted(self, dialog: Any) -> None:
        self.complaints.append(f"a script ran: {dialog.message}")
        dialog.dismiss()


Serve = Callable[..., AbstractContextManager[str]]
OpenPage = Callable[..., Watched]
