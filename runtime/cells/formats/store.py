"""Where cells come from: the table of formats.

A new format is a file beside this one, and a line in `FILE_FORMATS`. A format is imported when a
file has it: importing all of them takes a third of the time of importing this.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from c2t.runtime.cells.formats.anndata_object import AnnDataStore, is_anndata
from c2t.runtime.cells.formats.count_maps import is_count_maps
from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.opening import PLAIN, Opening, check_no_part
from c2t.runtime.cells.formats.place import find_form
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.system.errors import CellFileError

# What stands at a path, and what opens it: a module beside this one, and its function, which takes
# the path and the `Opening`.
FILE_FORMATS = {
    Form.hdf5: "hdf5_cells:open_hdf5_cells",
    Form.packed_hdf5: "packed:open_packed",
    Form.matrix_market: "mex.store:open_mex",
    Form.zarr: "zarr.store:open_zarr",
    Form.table: "text_table:open_text_table",
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
        module, _, function = FILE_FORMATS[find_form(path)].partition(":")
        found: CellStore = getattr(_format_module(module), function)(path, opening)
        return found
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


def _format_module(name: str) -> ModuleType:
    return importlib.import_module(f"c2t.runtime.cells.formats.{name}")
