"""Opens an HDF5 file with cells: AnnData, 10x, MuData or Loom, by what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2t.runtime.cells.formats.h5ad import H5adStore
from c2t.runtime.cells.formats.hdf5 import naming, open_hdf5
from c2t.runtime.cells.formats.hdf5_kind import check_is_h5ad
from c2t.runtime.cells.formats.loom import LoomStore, is_loom
from c2t.runtime.cells.formats.mudata import is_mudata, open_modality
from c2t.runtime.cells.formats.opening import Opening, check_no_part
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.cells.formats.tenx import TenxStore, is_tenx


def open_hdf5_cells(path: Path, opening: Opening, name: str = "") -> CellStore:
    """Open an HDF5 file with cells.

    Args:
        path: The file.
        opening: Which part of it.
        name: What messages call it; the file's name without it.

    Raises:
        CellFileError: It is damaged, locked, or holds no cells that are read here; says what.
    """
    file = open_hdf5(path)
    try:
        return _store(file, path, opening, name or path.name)
    except BaseException:
        file.close()
        raise


def _store(file: Any, path: Path, opening: Opening, name: str) -> CellStore:
    match kind_beside_h5ad(file, str(path)):
        case "MuData":
            return open_modality(file, name, opening)
        case "Loom":
            check_no_part(opening, name)
            return LoomStore(file, name)
        case "10x":
            return TenxStore(file, name, opening)
    check_is_h5ad(file, path)
    check_no_part(opening, name)
    return H5adStore(file, name)


def kind_beside_h5ad(file: Any, said: str) -> str:
    """The kind of an opened file with cells that is no `.h5ad` file; "" for that, and for others.

    Args:
        file: The h5py file.
        said: What messages call it.
    """
    with naming(f"{said}: the list of its members"):
        names = set(file)
    if "X" in names and {"obs", "var"} & names:
        return ""
    if is_mudata(file, names):
        return "MuData"
    if is_loom(names):
        return "Loom"
    return "10x" if is_tenx(file, names) else ""
