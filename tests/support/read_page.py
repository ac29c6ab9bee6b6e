"""What a browser takes from an HTML page: its words, its elements, and what it may fetch."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        words: All words that are shown, style sheets left out.
        elements: Name of every element, in their order.
        addresses: Values of attributes that make a browser fetch something.
        policy: The Content-Security-Policy.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.policy = ""
        self._parts: list[str] = []
        self._hidden = False
        self.feed(text)
        self.close()
        self.words = " ".join("".join(self._parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.elements.append(tag)
        self._hidden = tag == "style"
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        for name, value in values.items():
            if name in ("src", "href", "action", "data") or "url(" in value:
                self.addresses.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False
        self._parts.append(" ")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            self.addresses += ["style"] if "url(" in data or "@import" in data else []
        else:
            self._parts.append(data)
