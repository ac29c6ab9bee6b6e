"""Where cells come from: the table of formats.

A new format is a file beside this one, and a line in `FILE_FORMATS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from c2t.runtime.cells.formats.anndata_object import AnnDataStore, is_anndata
from c2t.runtime.cells.formats.count_maps import is_count_maps
from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.hdf5_cells import open_hdf5_cells
from c2t.runtime.cells.formats.mex.store import open_mex
from c2t.runtime.cells.formats.opening import PLAIN, Opening, check_no_part
from c2t.runtime.cells.formats.packed import open_packed
from c2t.runtime.cells.formats.place import find_form
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.cells.formats.text_table import open_text_table
from c2t.runtime.cells.formats.zarr.store import open_zarr
from c2t.runtime.system.errors import CellFileError

# What stands at a path, and what opens it.
FILE_FORMATS: dict[Form, Callable[[Path, Opening], CellStore]] = {
    Form.hdf5: open_hdf5_cells,
    Form.packed_hdf5: open_packed,
    Form.matrix_market: open_mex,
    Form.zarr: open_zarr,
    Form.table: open_text_table,
}


def open_store(source: Any, opening: Opening = PLAIN) -> CellStore:
    """Open cells of any known format.

    Args:
        source: A path, an AnnData object, or maps of counts.
        opening: Which part of it, and what helps to read it.

    Raises:
        CellFileError: None of these, or not readable.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return FILE_FORMATS[find_form(path)](path, opening)
    if is_count_maps(source):
        store: CellStore = source
    elif is_anndata(source):
        store = AnnDataStore(source)
    else:
        problem = "cells are the path of a file, an AnnData object or maps of counts, not "
        problem += type(source).__name__
        raise CellFileError(problem, hint="pass the path of a file of cells")
    check_no_part(opening, store.name)
    return store
