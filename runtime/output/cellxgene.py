"""The columns of CELLxGENE's own schema in a copy of the cells: `describe --cellxgene`.

Source: CELLxGENE schema 7.1.0, obs. Curators write ids; the labels beside them (`cell_type`, ...)
are the portal's, and are never written here.

One decision: where the schema takes no "unknown" (tissue, disease), it is written all the same and
counted: a column with a few cells to fill in is of more use than none. The user is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.formats.hdf5 import child, has, open_hdf5
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.fields.open import open_fields
from c2t.runtime.fields.reader import UNKNOWN
from c2t.runtime.output.categories import Categories
from c2t.runtime.output.h5ad_elements import write_element
from c2t.runtime.output.obs import column_order, set_column_order
from c2t.runtime.output.record import FIELD_IDS, Record
from c2t.runtime.system.errors import OutputError

# Terms that the schema forbids, and the root, which says no more than "unknown".
NOT_ALLOWED = frozenset({"CL:0000000", "CL:0000255", "CL:0000257", "CL:0000548"})
# Columns in which the schema has no "unknown".
ALWAYS_KNOWN = ("tissue_ontology_term_id", "disease_ontology_term_id")
LABELS = ("cell_type", "tissue", "disease", "sex", "development_stage")


@dataclass(frozen=True, kw_only=True)
class SchemaColumns:
    """The columns to write, and what was written.

    Attributes:
        columns: Their names, which are those of a `Record` too.
        unknown: Cells without a term by column, once written.
        kept: Cells without a description by column, whose own term stays, once written.
        labels: Columns of the file that the schema leaves to the portal.
    """

    columns: tuple[str, ...]
    labels: tuple[str, ...] = ()
    unknown: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)

    @property
    def warnings(self) -> list[str]:
        """What stands in the way of a submission."""
        found = [
            f"{self.unknown[name]:,} cells have no term for {name}, where the schema takes no "
            '"unknown": fill them in before you submit'
            for name in ALWAYS_KNOWN
            if self.unknown[name]
        ]
        found += [
            f"{_cells(self.kept[name])} the {name} of the file"
            for name in self.columns
            if self.kept[name]
        ]
        if self.labels:
            found.append(
                f"obs has {', '.join(self.labels)}, which the schema leaves to the portal: remove "
                "them before you submit"
            )
        return found

    def write(self, path: Path, records: Iterable[Record]) -> None:
        """Add the columns to a copy of the cells.

        Args:
            path: The copy.
            records: What was described. Other cells keep what the file says, else are "unknown".
        """
        import h5py

        with h5py.File(path, "r+") as file:
            obs = file["obs"]
            table = H5Table(obs, "/obs")
            made = {name: Categories(table.rows, missing=UNKNOWN) for name in self.columns}
            described = np.zeros(table.rows, dtype=bool)
            for record in records:
                if record.text is None:
                    continue
                described[record.row] = True
                for name, column in made.items():
                    value = getattr(record, name)
                    if value is not None and value not in NOT_ALLOWED:
                        column.set(record.row, value)
            for name, column in made.items():
                if name in obs:
                    values = table.column(name)
                    for row in np.flatnonzero(~described).tolist():
                        if values[row] not in ("", UNKNOWN):
                            column.set(row, values[row])
                            self.kept[name] += 1
                self.unknown[name] = column.count(UNKNOWN)
                write_element(obs, name, column.sorted())
            order = column_order(obs)
            set_column_order(obs, [*order, *(name for name in made if name not in order)])


def _cells(count: int) -> str:
    if count == 1:
        return "1 cell without a description keeps"
    return f"{count:,} cells without a description keep"


def schema_columns(bundle: Bundle) -> tuple[str, ...]:
    """The schema's columns that a bundle has ids for.

    Raises:
        OutputError: It has none.
    """
    reader = open_fields(bundle)
    fields = () if reader.terms is None else reader.terms.fields
    columns = tuple(
        column for name, column in FIELD_IDS.items() if name in fields and name in reader.names
    )
    if not columns:
        problem = f"the bundle {bundle.manifest.name} has no table of ontology terms"
        hint = "export it with --ontology, and files of CL, UBERON and MONDO; see `c2t help fields`"
        raise OutputError(problem, hint=hint)
    return columns


def check_schema_columns(source: Path, columns: Iterable[str], *, replace: bool) -> tuple[str, ...]:
    """Refuse cells that have such columns already, unless they may be replaced.

    Returns:
        The columns that the schema leaves to the portal, as far as the file has them.

    Raises:
        CellFileError: The file is damaged, cut off or locked.
        OutputError: It has such columns.
    """
    import h5py

    if not source.is_file() or not h5py.is_hdf5(source):
        return ()
    with closing(open_hdf5(source)) as file:
        obs = file["obs"] if has(file, "obs", "/obs") else {}
        # A link would stay in the copy; see `check_obs`.
        there = [name for name in columns if child(obs, name, f"/obs/{name}") is not None]
        labels = tuple(name for name in LABELS if name in obs)
        for name in there:  # cells without a description keep theirs: a damaged one is found now
            H5Table(obs, "/obs").column(name)
    if there and not replace:
        problem = f"{source} has columns of its own that would be replaced: {', '.join(there)}"
        raise OutputError(problem, hint="pass --replace-columns to replace them in the copy")
    return labels


def check_outputs(names: Iterable[str | Path]) -> None:
    """Refuse outputs of which none is a copy of the cells, by their names.

    Raises:
        OutputError: None is.
    """
    if not any(str(name).endswith(".h5ad") for name in names):
        problem = "--cellxgene writes columns of obs, but no output is a copy of the cells"
        raise OutputError(problem, hint="add --write-obs, or name an output that ends in .h5ad")
