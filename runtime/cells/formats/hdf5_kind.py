"""What an HDF5 file is that holds no cells as they are read, with the command that makes some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2t.runtime.cells.formats.attributes import attribute
from c2t.runtime.cells.formats.converters import with_installation
from c2t.runtime.cells.formats.hdf5 import child, naming
from c2t.runtime.system.errors import CellFileError

NAMES_SHOWN = 8


def check_is_h5ad(file: Any, path: Path) -> None:
    """Refuse an HDF5 file of another kind, and say which.

    Raises:
        CellFileError: It is of 10x molecules, h5Seurat, or has no tables of cells and genes.
    """
    with naming(f"{path}: the list of its members"):
        names = set(file)
    if "X" not in names and (kind := _known_kind(file, names, path)) is not None:
        what, hint = kind
        problem = f"{path} is {what}, not an .h5ad file"
        raise CellFileError(problem, hint=with_installation(hint))
    for name in ("obs", "var"):
        if name not in names:
            shown = ", ".join(sorted(names)[:NAMES_SHOWN]) or "nothing"
            problem = f"{path.name} has no /{name}: not an .h5ad file; it holds {shown}"
            raise CellFileError(problem, hint="write the cells with anndata's `write_h5ad`")


def _known_kind(file: Any, names: set[str], path: Path) -> tuple[str, str] | None:
    source = repr(str(path))

    if {"barcode_idx", "feature_idx"} <= names:
        return (
            "the molecules of a 10x Genomics run (molecule_info.h5)",
            "describe the filtered_feature_bc_matrix.h5 of the same run",
        )
    if {"assays", "cell.names"} <= names:
        return "an h5Seurat file", f"in R: `SeuratDisk::Convert({source}, dest = 'h5ad')`"
    for name in sorted(names):
        where = _inner_anndata(file, name)
        if where:
            write = f"['{where}']).write_h5ad('cells.h5ad')"
            code = f"import h5py, anndata; anndata.io.read_elem(h5py.File({source}){write}"
            return f"an HDF5 file with AnnData at /{where}", f'take it out: `python -c "{code}"`'
    return None


def _members(file: Any, name: str) -> list[str]:
    group = child(file, name, f"/{name}")
    with naming(f"/{name}"):
        return list(group) if hasattr(group, "keys") else []


def _inner_anndata(file: Any, name: str) -> str:
    """The path of an AnnData group one level down or two; "" if there is none."""
    group = child(file, name, f"/{name}")
    if not hasattr(group, "keys"):
        return ""
    if attribute(group, "encoding-type", f"/{name}") == "anndata":
        return name
    for inner in _members(file, name)[:NAMES_SHOWN]:
        item = child(group, inner, f"/{name}/{inner}")
        if hasattr(item, "keys") and attribute(item, "encoding-type", inner) == "anndata":
            return f"{name}/{inner}"
    return ""
