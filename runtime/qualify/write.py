"""A report as a folder: whole or not at all.

`SHA256SUMS` has the hash of every other file, in the form that `sha256sum -c` checks. The page
names the hash of the JSON, so what is signed on paper stands for one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from c2t.runtime.qualify.page import make_page
from c2t.runtime.qualify.report import Made, QualifyOptions, make_report
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_folder, check_folder_target
from c2t.runtime.trust.keys import TrustedKey

JSON_NAME, PAGE_NAME, SUMS_NAME = "report.json", "report.html", "SHA256SUMS"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A report that lies in its folder.

    Attributes:
        made: The report.
        sha256: Of its JSON.
    """

    made: Made
    sha256: str


def write_report(
    bundle: Path,
    target: Path,
    options: QualifyOptions | None = None,
    *,
    force: bool = False,
    told: Callable[[Written], None] | None = None,
) -> Written:
    """Qualify this installation with a bundle, and write the report.

    Args:
        bundle: The bundle's folder.
        target: Folder of the report.
        options: People, places, and what is asked of the bundle.
        force: Replace an earlier report.
        told: Called when all is written, before it is put in place; if it fails, nothing is.

    Raises:
        OutputError: Something else is there, or the place cannot be written or is in the bundle.
        TrustError: The key that is to be trusted is none. That is a mistake of whoever asks, and
            no fault of what is qualified.
    """
    _check_outside(bundle, check_folder_target(target, force=force, marker=JSON_NAME))
    if options is not None and options.trust is not None:
        TrustedKey.read(options.trust)
    with atomic_folder(target, force=force, marker=JSON_NAME) as folder:
        made = make_report(bundle, folder, options)
        content = msgspec.json.format(msgspec.json.encode(made.report), indent=1) + b"\n"
        digest = hashlib.sha256(content).hexdigest()
        (folder / JSON_NAME).write_bytes(content)
        page = make_page(made.report, sha256=digest, json_name=JSON_NAME)
        (folder / PAGE_NAME).write_text(
            page, encoding="utf-8", errors="backslashreplace", newline=""
        )
        sums = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(folder.iterdir())
        ]
        (folder / SUMS_NAME).write_text("".join(sums), encoding="ascii", newline="")
        written = Written(made=made, sha256=digest)
        if told is not None:
            told(written)
    return written


def _check_outside(bundle: Path, target: Path) -> None:
    """Refuse a report that would be one file too many of the bundle that it is about.

    Raises:
        OutputError: The folder lies in the bundle.
    """
    place = bundle.resolve()
    if place in (target, *target.parents):
        problem = f"{target} lies in the bundle, which holds only what was written with it"
        raise OutputError(problem, hint="write the report beside it")
