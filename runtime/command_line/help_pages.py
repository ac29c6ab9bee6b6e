"""The how-to pages as text, for who has neither a network nor a browser at hand.

One decision: they are the pages of the documentation (`docs/how-to`), which wheels bring along.
"""

from __future__ import annotations

import re
from pathlib import Path

import c2t

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^(`{3,}).*?^\1`*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*)", re.MULTILINE)


def _folder() -> Path:
    return Path(c2t.__file__).parent / "docs" / "how-to"


def page_titles() -> dict[str, str]:
    """The title of each page, by its name, in the order of names."""
    paths = sorted(path for path in _folder().glob("*.md") if path.stem != "index")
    titles = {}
    for path in paths:
        heading = _HEADING.search(path.read_text(encoding="utf-8"))
        titles[path.stem] = heading[1] if heading else path.stem
    return titles


def page_text(name: str) -> str:
    """A page: Markdown, whose links to other pages say the command that shows them.

    Args:
        name: One of `page_titles`.
    """
    text = _COMMENT.sub("", (_folder() / f"{name}.md").read_text(encoding="utf-8"))
    fences = list(_FENCE.finditer(text))
    starts = [0, *(fence.end() for fence in fences)]
    ends = [*(fence.start() for fence in fences), len(text)]
    said = [_LINK.sub(_said, text[start:end]) for start, end in zip(starts, ends, strict=True)]
    kept = [*(fence[0] for fence in fences), ""]
    return "".join(words + fence for words, fence in zip(said, kept, strict=True))


def sections_with(words: str) -> list[tuple[str, str]]:
    """Sections that hold all of some words, letter case aside: (page, heading), page by page."""
    wanted = words.casefold().split()
    found = []
    for name in page_titles():
        text = page_text(name)
        headings = list(_HEADING.finditer(_FENCE.sub(lambda fence: "-" * len(fence[0]), text)))
        ends = [*(heading.start() for heading in headings[1:]), len(text)]
        for heading, end in zip(headings, ends, strict=True):
            section = text[heading.start() : end].casefold()
            if all(word in section for word in wanted):
                found.append((name, heading[1]))
    return found


def _said(link: re.Match[str]) -> str:
    words, target = link[1], link[2]
    if re.match(r"[a-z]+:", target):
        return f"{words} ({target})"
    page = re.fullmatch(r"([a-z0-9]+)\.md(?:#.*)?", target)
    return f"{words} (`c2t help {page[1]}`)" if page else words
