"""What a run has found so far, kept until its output is there, whatever it finds of each cell.

One decision: it is `describe`'s own journal, with another kind of line. So an interrupted run goes
on only as the very same run, and nothing that is damaged is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import c2t
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.journal import Journal, K, RunMark, journal_path
from c2t.runtime.output.write import DescribeEnded, DescribeInterrupted
from c2t.runtime.system.errors import C2TError


def run_mark(
    command: str,
    bundle: Bundle,
    cells: CellsMark,
    rows: NDArray[np.int64],
    settings: Mapping[str, str],
) -> RunMark:
    """What a run of a command is.

    Args:
        command: Its name: runs of others are other runs.
        bundle: The bundle.
        cells: The file of cells.
        rows: Its chosen rows.
        settings: All that changes what is found, by name, and "top": how much of it is written.
    """
    found = {name: value for name, value in settings.items() if name != "top"}
    return RunMark(
        bundle=bundle.digest,
        cells=cells,
        rows=hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest(),
        n_rows=len(rows),
        options={"command": command, **found},
        c2t_version=c2t.__version__,
    )


@contextmanager
def forgetting(journal: Journal[Any] | None) -> Iterator[None]:
    """Remove the journal if the block finds that nobody knows which of its cells are right."""
    try:
        yield
    except C2TError:
        if journal is not None:
            journal.remove()
        raise


@contextmanager
def keeping(
    output: Path | None,
    mark: RunMark,
    rows: NDArray[np.int64],
    *,
    kind: type[K],
    restart: bool = False,
) -> Iterator[Journal[K] | None]:
    """Give the journal of an output; it is removed when the block ends well.

    Args:
        output: The file that the block writes; None: there is none, and nothing is kept.
        mark: What this run is.
        rows: The rows of the cells, in order.
        kind: What is kept of a cell.
        restart: Forget what an earlier run left.

    Raises:
        OutputError: See `Journal`.
        DescribeInterrupted: Ctrl-C.
        DescribeEnded: SystemExit, which a signal was turned into.
    """
    if output is None:
        yield None
        return
    with Journal(journal_path(output), mark, rows.tolist(), kind=kind, restart=restart) as journal:
        try:
            yield journal
        except KeyboardInterrupt as stop:
            raise DescribeInterrupted(journal.done, len(rows)) from stop
        except SystemExit as end:
            raise DescribeEnded(end.code, journal.done, len(rows)) from end
        finally:
            if journal.done == 0 < len(rows):
                journal.remove()
        journal.remove()
