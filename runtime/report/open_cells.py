"""Opens the file of cells that results are of, the right part of it.

One decision: no bundle is at hand, so genes cannot tell which way a text table lies. The described
cells can: their names are those of its lines, or those of its columns.
"""

from __future__ import annotations

from pathlib import Path

from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.opening import Opening
from c2t.runtime.cells.formats.place import find_form
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.cells.formats.text_table import CELLS_X_GENES, GENES_X_CELLS
from c2t.runtime.report.results import Results
from c2t.runtime.system.errors import ReportError


def open_described(results: Results, path: Path, part: str | None) -> tuple[CellStore, str | None]:
    """Open the cells.

    Args:
        results: The descriptions of some or all of them.
        path: The file or folder.
        part: The data set to take, as `c2t describe --part` takes it; None: the only or usual one.

    Returns:
        The cells, which the caller closes, and the part that they are.

    Raises:
        CellFileError: They cannot be read, or there is no such part.
        ReportError: The described cells do not say which way a text table lies.
    """
    if part is not None or find_form(path) is not Form.table:
        return open_store(path, Opening(part=part)), part
    store = open_store(path, Opening(part=CELLS_X_GENES))
    try:
        lines, columns = set(store.obs.index()), set(store.var("X").index())
        of_lines, of_columns = (
            all(c in names for c in results.cells) for names in (lines, columns)
        )
        if of_lines and not of_columns:
            return store, CELLS_X_GENES
        if of_lines or not of_columns:
            these = "both lines and columns" if of_lines else "neither the lines nor the columns"
            problem = f"{these} of {path} are the described cells, such as `{results.cells[0]}`"
            hint = f"say which way it lies: `--part {CELLS_X_GENES}` or `--part {GENES_X_CELLS}`"
            if not of_lines:
                hint = f"give the file that was described; its first line names {_some(columns)}"
            raise ReportError(problem, hint=hint)
    except BaseException:
        store.close()
        raise
    store.close()
    return open_store(path, Opening(part=GENES_X_CELLS)), GENES_X_CELLS


def _some(names: set[str]) -> str:
    return f"`{min(names)}`" if names else "nothing"
