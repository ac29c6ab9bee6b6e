"""Draws the README's picture, `docs/report.png`.

    python docs/site/make_report_picture.py BUNDLE

The bundle is that of `c2t demo`. Its cells are described, a report is made of them, and headless
Chromium draws the beginning of that page. Nothing is retouched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import scanpy
from PIL import Image

PICTURE = Path(__file__).resolve().parent.parent / "report.png"
SIZE = (1000, 930)  # of the window, in pixels: down to the end of the map
COLOURS = 128  # of the file; text and points need no more


def main() -> None:
    """Describe, report, draw."""
    bundle = Path(sys.argv[1]).resolve()
    chromium = os.environ.get("C2T_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        message = "there is no Chromium: install it, or name it with C2T_CHROMIUM"
        raise SystemExit(message)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scanpy.datasets.pbmc68k_reduced().write_h5ad(folder / "cells.h5ad")
        steps = [
            ["describe", bundle, "cells.h5ad", "-o", "blood.h5ad", "--group-by", "louvain"],
            ["report", "blood.h5ad", "--labels", "bulk_labels", "-o", "report.html"],
        ]
        for step in steps:
            subprocess.run(["c2t", *step], cwd=folder, check=True)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += [f"--window-size={SIZE[0]},{SIZE[1]}", "--screenshot=report.png"]
        page = (folder / "report.html").as_uri()
        subprocess.run([chromium, *flags, page], cwd=folder, check=True, timeout=120)
        with Image.open(folder / "report.png") as drawn:
            few = drawn.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            few.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
