"""Links of pages: those to pages of the site stay, those to other files become words.

One decision: who reads the site has no checkout beside it. So a link to a source file says where
that file lies, and a link to nothing ends the build.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
# Documents of the repository that are pages too: where they lie, and where the page lies.
DOCUMENTS = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "explanation/contributing.md",
    "SECURITY.md": "explanation/threat-model.md",
    "README.md": "index.md",
    "capi/README.md": "how-to/capi.md",
    "examples/demo/README.md": "explanation/demo-model.md",
    "examples/scale_out/README.md": "how-to/scale-out.md",
}
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"(^(`{3,}).*?^\2`*$)", re.MULTILINE | re.DOTALL)


class LinkError(Exception):
    """A page links to what is not there."""


def site_links(text: str, source: str, page: str) -> str:
    """A page's text with its links as the site needs them.

    Args:
        text: Of the page.
        source: Where it lies in the repository.
        page: Where it lies in the site.

    Raises:
        LinkError: A link leads to no file or folder.
    """

    def changed(found: re.Match[str]) -> str:
        return _link(found[1], found[2], source, page)

    pieces = _FENCE.split(text)
    # Each fence gives two pieces: itself, and its ticks.
    kept = [piece for n, piece in enumerate(pieces) if n % 3 != 2]
    return "".join(p if n % 2 else _LINK.sub(changed, p) for n, p in enumerate(kept))


def _link(words: str, target: str, source: str, page: str) -> str:
    if re.match(r"[a-z]+:|#", target):
        return f"[{words}]({target})"
    path, _, anchor = target.partition("#")
    place = os.path.normpath(PurePosixPath(source).parent / path)
    behind = f"#{anchor}" if anchor else ""
    leads_to = None
    if place in DOCUMENTS:
        leads_to = DOCUMENTS[place]
    elif place.startswith("docs/"):
        leads_to = place.removeprefix("docs/")
    if leads_to is not None:
        return f"[{words}]({os.path.relpath(leads_to, PurePosixPath(page).parent)}{behind})"
    if not (ROOT / place).exists():
        message = f"{source}: there is no {place}"
        raise LinkError(message)
    plain = words.replace("`", "").rstrip("/")
    if place == plain or place.endswith(f"/{plain}"):
        return f"`{place}`"
    return f"{words} (`{place}`)"
