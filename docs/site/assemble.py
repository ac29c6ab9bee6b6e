"""The sources of the site, put together in a folder: pages, figures, generated pages."""

from __future__ import annotations

import shutil
from pathlib import Path

from figures import FigureError, checked
from links import DOCS, DOCUMENTS, ROOT, LinkError, site_links, toctree
from reference_api import api_pages
from reference_commands import command_pages
from reference_formats import format_pages, schema_files
from reference_messages import message_page
from reference_outputs import output_page
from reference_service import service_pages

HERE = Path(__file__).resolve().parent


def assemble(folder: Path) -> None:
    """Write all sources of the site into an empty folder.

    Raises:
        FigureError: A figure of a page is not the one that a benchmark has written.
        LinkError: A page links to what is not there.
    """
    for path in sorted(DOCS.rglob("*")):
        name = path.relative_to(DOCS)
        if name.parts[0] == HERE.name or not path.is_file():
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            _write(target, path.read_text(encoding="utf-8"), f"docs/{name.as_posix()}", folder)
        elif path.suffix in {".svg", ".png", ".css"}:
            shutil.copyfile(path, target)
    for source, page in DOCUMENTS.items():
        if not (folder / page).exists():
            _write(folder / page, (ROOT / source).read_text(encoding="utf-8"), source, folder)
    for index in folder.rglob("index.md"):
        text = index.read_text(encoding="utf-8")
        index.write_text(toctree(text), encoding="utf-8")
    made = (
        command_pages()
        | api_pages()
        | format_pages()
        | message_page()
        | service_pages()
        | output_page()
    )
    for name, text in (made | schema_files()).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _write(target: Path, text: str, source: str, folder: Path) -> None:
    page = target.relative_to(folder).as_posix()
    try:
        text = site_links(checked(text), source, page)
    except (FigureError, LinkError) as error:
        error.add_note(f"in {source}")
        raise
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
