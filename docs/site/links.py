"""Links of pages: as committed they lead to files of the repository, in the site to its pages.

Two decisions. Who reads a page on a forge has no site: every link leads to a file that is there,
for a page made from the code to that code. Who reads the site has no checkout: a link to any other
file says where it lies. A link to nothing ends the build.
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
# Pages that are made from the code, by the file that says the same to who has no site.
MADE_FROM = {
    "__init__.py": "reference/python/c2t.md",
    "calibration/results/calibration.py": "reference/formats/calibration.md",
    "cli.py": "reference/commands/index.md",
    "docs/site/reference_formats.py": "reference/formats/index.md",
    "docs/site/reference_messages.py": "reference/messages.md",
    "runtime/audit/line.py": "reference/formats/audit.md",
    "runtime/bundle/bundle.py": "reference/formats/golden.md",
    "runtime/bundle/manifest.py": "reference/formats/manifest.md",
    "runtime/joint/golden.py": "reference/formats/golden-vectors.md",
    "runtime/output/parts/manifest.py": "reference/formats/parts.md",
    "runtime/output/record.py": "reference/outputs.md",
    "runtime/qualify/report.py": "reference/formats/qualification.md",
    "runtime/scverse/pl.py": "reference/python/c2t-pl.md",
    "runtime/scverse/tl.py": "reference/python/c2t-tl.md",
    "runtime/serve/http/metrics.py": "reference/service/metrics.md",
    "runtime/serve/http/operations.py": "reference/service/http.md",
}
# Its links mean the code itself.
ABOUT_CODE = "docs/architecture.md"
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"(^(`{3,}).*?^\2`*$)", re.MULTILINE | re.DOTALL)


class LinkError(Exception):
    """A page links to what is not there."""


def toctree(text: str) -> str:
    """The same text; what its lists link to is below it in the site's tree of pages.

    Args:
        text: Of an index page of the site, with the site's links.
    """
    entries = []
    for line in re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE):
        entries += [f"{words.replace('`', '')} <{page}>" for words, page in _LINK.findall(line)]
    return "\n".join([text, "```{toctree}", ":hidden:", "", *entries, "```", ""])


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
    if not (ROOT / place).exists():
        message = f"{source}: there is no {place}"
        raise LinkError(message)
    leads_to = DOCUMENTS.get(place)
    if leads_to is None and source != ABOUT_CODE:
        leads_to = MADE_FROM.get(place)
    if leads_to is None and place.startswith("docs/") and place.endswith(".md"):
        leads_to = place.removeprefix("docs/")
    if leads_to is not None:
        return f"[{words}]({os.path.relpath(leads_to, PurePosixPath(page).parent)}{behind})"
    plain = words.replace("`", "").rstrip("/")
    if place == plain or place.endswith(f"/{plain}"):
        return f"`{place}`"
    return f"{words} (`{place}`)"
