"""Results of an earlier run in a file of cells, which a copy with new results would not have.

One decision: they are replaced, as every run's outputs are whole; but who describes 20 cells of a
file that has texts of 500 is told before the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import has, open_hdf5
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.system.errors import CellFileError
from c2t.runtime.system.words import counted


def earlier_results(
    source: Path,
    chosen: NDArray[np.int64],
    *,
    column: str,
    what: str,
    left_out: Sequence[str] = (),
) -> list[str]:
    """Say what of an earlier run a copy of the cells will not have.

    Args:
        source: The file of cells.
        chosen: Rows of the cells of this run.
        column: Of obs, which has a value for each cell that the earlier run gave a result.
        what: What these are, in the plural.
        left_out: Names in obs and obsm that this run does not write.

    Returns:
        A sentence each; none where nothing is lost.
    """
    import h5py

    if not source.is_file() or not h5py.is_hdf5(source):
        return []
    try:
        with closing(open_hdf5(source)) as file:
            if not has(file, "obs", "/obs"):
                return []
            table = H5Table(file["obs"], "/obs")
            filled = np.zeros(0, dtype=bool)
            if column in table.columns:
                filled = np.array([bool(text) for text in table.column(column)])
            there = [name for name in left_out if name in table.columns]
            if has(file, "obsm", "/obsm"):
                there += [name for name in left_out if name in file["obsm"]]
    except CellFileError:  # what is damaged there is replaced
        return []
    said = []
    total = int(filled.sum())
    if total and total > int(filled[chosen].sum()):
        said.append(
            f"{source} has {what} of {counted(total, 'cell')}; the copy will have "
            f"those of {len(chosen):,}, without what an earlier run gave the others"
        )
    if there:
        said.append(f"{source} has {', '.join(there)} of an earlier run; the copy will not")
    return said
