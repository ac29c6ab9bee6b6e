"""`c2t report` as a function: results in, one page out, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from c2t.runtime.report.page import make_page
from c2t.runtime.report.report import Report, ReportOptions, make_report
from c2t.runtime.report.results import read_results
from c2t.runtime.system.errors import ReportError
from c2t.runtime.system.files import atomic_file, check_target
from c2t.runtime.system.progress import Advance

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True, kw_only=True)
class WriteReportOptions:
    """What to make a page of, and where it goes.

    Args:
        results: What `c2t describe` wrote.
        output: The page.
        force: Replace an existing page.
        about: What else there is.
    """

    results: Path
    output: Path
    force: bool = False
    about: ReportOptions = field(default_factory=ReportOptions)


def _no_bar(label: str, total: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda amount: None)


def write_report(
    options: WriteReportOptions,
    *,
    progress: Callable[[str, int], AbstractContextManager[Advance]] = _no_bar,
) -> Report:
    """Write the page.

    Args:
        options: What and where.
        progress: Given a label and a number of cells, shows progress.

    Returns:
        What the page says.

    Raises:
        OutputError: The page cannot or must not be written there.
        ReportError: No results, or other cells than the file has.
        CellFileError: The file of cells cannot be read, or has no such column.
    """
    output = options.output
    if output.suffix.lower() not in SUFFIXES:
        problem = f"{output} has no name of a page"
        raise ReportError(problem, hint="end its name in .html")
    target = check_target(output, force=options.force)
    for given in (options.results, options.about.cells.path):
        if given is not None and given.exists() and target.exists() and target.samefile(given):
            problem = f"{output} is one of the files that the report is made of"
            raise ReportError(problem, hint="choose another name")
    results = read_results(options.results)
    with progress("reading genes", len(results.cells)) as advance:
        report = make_report(results, options.about, advance=advance)
    page = make_page(report)
    with atomic_file(output, force=options.force) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="")
    return report
