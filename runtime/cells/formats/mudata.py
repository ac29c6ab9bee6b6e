"""MuData (`.h5mu`): one AnnData group a modality; `rna` is read unless another one is asked for.

The labels of cells often stand in the table of the whole only. So its columns are offered too,
beside those of the modality, for the cells of the same names.
"""

from __future__ import annotations

from typing import Any

from c2t.runtime.cells.formats.h5ad import H5adStore
from c2t.runtime.cells.formats.hdf5 import child, naming
from c2t.runtime.cells.formats.opening import Opening, choose_part
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.system.errors import CellFileError

USUAL = "rna"


def is_mudata(file: Any, names: set[str]) -> bool:
    """Whether an opened file has modalities."""
    return "mod" in names and hasattr(child(file, "mod", "/mod"), "keys")


def open_modality(file: Any, name: str, opening: Opening) -> H5adStore:
    """Open the cells of a modality.

    Args:
        file: The opened h5py file.
        name: What messages call it.
        opening: Which modality is wanted.

    Raises:
        CellFileError: There is no such modality, or it is damaged.
    """
    modalities = child(file, "mod", "/mod")
    with naming("/mod"):
        found = sorted(modalities)
    said = f"{name} (MuData) has {len(found):,} modalities"
    if USUAL not in found:
        said += f", none of them `{USUAL}`"
    part = choose_part(found, opening, said, usual=USUAL)
    place = f"/mod/{part}"
    group = child(modalities, part, place)
    if not hasattr(group, "keys"):
        problem = f"{place} leads nowhere, or is no group"
        raise CellFileError(problem, hint="the file is damaged; write it again from its source")
    store = H5adStore(file, name, group, place)
    stored = child(file, "obs", "/obs")
    if stored is not None:
        whole = H5Table(stored, "/obs")
        store.obs = ModalityCells(
            H5Table(child(store.root, "obs", f"{place}/obs"), f"{place}/obs"), whole
        )
    return store


class ModalityCells:
    """The table of a modality's cells, with the columns of the table of all cells.

    Args:
        own: Of the modality; its columns come first.
        whole: Of the whole file, with the cells of all modalities.
    """

    def __init__(self, own: H5Table, whole: H5Table) -> None:
        self._own, self._whole = own, whole

    @property
    def rows(self) -> int:
        """Number of cells."""
        return self._own.rows

    @property
    def columns(self) -> list[str]:
        """Names of the columns; those of other modalities ("prot:n_counts") are left out."""
        own = self._own.columns
        return [
            *own,
            *(name for name in self._whole.columns if name not in own and ":" not in name),
        ]

    def index(self) -> list[str]:
        """The names of the cells."""
        return self._own.index()

    def column(self, name: str) -> list[str]:
        """A column as strings; "" for cells that the table of the whole does not have.

        Raises:
            CellFileError: There is no such column, or a name of a cell stands for several.
        """
        if name in self._own.columns or name not in self._whole.columns:
            return self._own.column(name)
        names, values = self._whole.index(), self._whole.column(name)
        of_name = dict(zip(names, values, strict=True))
        if len(of_name) < len(names):
            problem = f"/obs/{name}: {len(names) - len(of_name):,} cells have the name of another"
            raise CellFileError(problem, hint=f"write the column into {self._own.key}")
        return [of_name.get(cell, "") for cell in self._own.index()]
