"""Builds the documentation: `python docs/site/build.py [OUT]`, by default into `build/docs`.

The pages of `docs/` are put together with what is generated from the code and from benchmarks, and
given to Sphinx. A warning is an error, and so is anything that a page would load from elsewhere.
Nothing is fetched: the site can be read from a disk, without a network.

Sphinx and MyST are what scverse's template for packages uses, and they are maintained; Furo is the
theme, since it brings no fonts and no scripts from elsewhere, and was made for narrow screens, too.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from assemble import HERE, ROOT, assemble
from sphinx.cmd.build import build_main

# What a browser would load by itself. Links that a reader may follow are no such thing.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](?:https?:)?//[^"']*"""
    r"""|<link\b[^>]*\bhref=["'](?:https?:)?//[^"']*|url\(["']?(?:https?:)?//[^)]*""",
    re.IGNORECASE,
)


def build(out: Path) -> int:
    """Build the site into a folder, which is replaced; the exit code."""
    with tempfile.TemporaryDirectory(prefix="c2t-docs-") as folder:
        source = Path(folder) / "source"
        source.mkdir()
        assemble(source)
        shutil.rmtree(out, ignore_errors=True)
        words = ["-b", "html", "-c", str(HERE), "-W", "--keep-going", "-q", "-j", "auto"]
        code = build_main([*words, "-d", f"{folder}/doctrees", str(source), str(out)])
    for path in sorted(out.rglob("*.html")) + sorted(out.rglob("*.css")):
        if found := _LOADED.search(path.read_text(encoding="utf-8")):
            print(f"{path} loads something from elsewhere: {found[0]}", file=sys.stderr)
            code = code or 1
    return code


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    raise SystemExit(build(place))
