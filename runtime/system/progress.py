"""Progress bars: on standard error, and only when a person is looking at it.

One decision: what reports progress calls a plain function with the amount done since the last call;
it never knows whether a bar is shown. Rich is imported only when one is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Advance = Callable[[int], None]


@contextlib.contextmanager
def progress_bar(label: str, total: int, *, done: int = 0, unit: str = "") -> Iterator[Advance]:
    """Show a bar while the block runs.

    Args:
        label: What is going on, in a word or two.
        total: The amount of work, in `unit`s.
        done: How much of it was done by an earlier run.
        unit: Name of one piece of work ("cells"), or "bytes", which is shown in MB.

    Yields:
        A function to call with the amount done since its last call.
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = [TextColumn("{task.description}"), BarColumn(), amount]
    if unit not in ("", "bytes"):
        columns.append(TextColumn(unit))
    columns += [TimeElapsedColumn(), TextColumn("eta"), TimeRemainingColumn()]
    # redirect_stdout stays off: descriptions may be going to standard output.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False
    ) as bars:
        task = bars.add_task(label, total=total, completed=done)

        def advance(amount: int) -> None:
            bars.advance(task, amount)

        yield advance


def _nothing(amount: int) -> None:
    """Show no progress."""
