"""What the file of cells adds to a report: places in a plane, own labels, the genes of each type.

One decision: what cannot be used is left out and said on the page, for the descriptions are there
all the same. What the user has named (a file, a column of labels) is refused if it is not right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.h5ad import H5adStore
from c2t.runtime.cells.formats.hdf5 import check_dataset, child, naming, read_dataset
from c2t.runtime.cells.formats.planes import PLANES, plane_places
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.labels.measured import check_labels
from c2t.runtime.report.open_cells import open_described
from c2t.runtime.report.results import Results
from c2t.runtime.summary.categories import Categories
from c2t.runtime.summary.plane import FloatArray, principal_plane
from c2t.runtime.summary.top_genes import STATISTIC, TopGene, top_genes
from c2t.runtime.system.errors import CellFileError, ReportError

EMBEDDING = "X_c2t"
_BLOCK_BYTES = 32 << 20  # of the embedding that are read at once


@dataclass(frozen=True, eq=False, kw_only=True)
class CellsPart:
    """What was found.

    Attributes:
        name: The file's name; None without a file.
        places: [cells, 2] of the described cells, NaN where one has none; None: no plane.
        plane: What the places are, or why there are none.
        labels: [cells] own labels; None: not asked for.
        genes: The top genes of each group, in the groups' order; empty: none.
        genes_said: The statistic, or why there are none.
    """

    name: str | None = None
    places: FloatArray | None = None
    plane: str = "no file of cells was given"
    labels: list[str] | None = None
    genes: list[list[TopGene]] = ()  # type: ignore[assignment]  # never changed
    genes_said: str = "no file of cells was given"


@dataclass(frozen=True, kw_only=True)
class CellsAsked:
    """What to look for.

    Args:
        path: The file of cells; None: the results, if they are an `.h5ad` file.
        part: Of a file with several data sets, the one that was described; see
            `c2t.runtime.cells.options.CellOptions`.
        labels: Column of `obs` with own labels.
        most_genes: Top genes of a group; 0: none.
    """

    path: Path | None = None
    part: str | None = None
    labels: str | None = None
    most_genes: int = 10


def read_cells(
    results: Results,
    asked: CellsAsked,
    groups: Categories,
    *,
    advance: Callable[[int], None] = lambda amount: None,
) -> CellsPart:
    """Read what the file of cells adds.

    Args:
        results: The descriptions.
        asked: What to look for.
        groups: The group of each described cell; the top genes are those of these.
        advance: Told how many cells were read for their genes since its last call.

    Raises:
        CellFileError: The file cannot be read, or has no such column.
        ReportError: Its cells are others, or labels without a file of cells.
    """
    path = asked.path
    if path is None:
        if results.path.suffix != ".h5ad":
            if asked.part is not None:
                problem = f"{results.path.name} has no part {asked.part!r}, nor cells"
                raise ReportError(problem, hint="name the file of cells that has it: --cells FILE")
            if asked.labels is not None:
                problem = f"{results.path.name} has no column {asked.labels!r} of labels"
                raise ReportError(problem, hint="name the file of cells that has it: --cells FILE")
            return CellsPart()
        path = results.path
    store, chosen = open_described(results, path, asked.part)
    try:
        ids = store.obs.index()
        rows = _rows(results, path, ids)
        labels = None
        if asked.labels is not None:
            every = store.obs.column(asked.labels)
            labels = [every[row] for row in rows.tolist()]
            check_labels(asked.labels, labels)
        places, plane = _places(store, path, rows)
    finally:
        store.close()
    part = CellsPart(name=path.name, places=places, plane=plane, labels=labels)
    if not asked.most_genes or groups.types < 2:
        why = "not asked for" if not asked.most_genes else "there are not two types to compare"
        return replace(part, genes_said=why)
    try:
        reading = CellOptions(
            part=chosen,
            cells=None if len(rows) == len(ids) else np.sort(rows).tolist(),
            filter_pass=False,
        )
        code_of = np.full(len(ids), -2, np.int64)
        code_of[rows] = groups.codes
        with CellCounts(path, reading) as counts:
            codes = code_of[counts.cell_index]
            most = asked.most_genes
            genes = top_genes(counts, codes, groups.types, most=most, advance=advance)
    except CellFileError as error:
        if asked.path is not None:
            raise
        return replace(part, genes_said=f"{path.name} has no counts to take: {error.problem}")
    return replace(part, genes=genes, genes_said=STATISTIC)


def _rows(results: Results, path: Path, ids: Sequence[str]) -> NDArray[np.int64]:
    """The row of each described cell in the file of cells.

    Raises:
        ReportError: The file has other cells.
    """
    if results.rows is not None:
        rows = results.rows
        if int(rows[-1]) < len(ids) and all(
            ids[row] == cell for row, cell in zip(rows.tolist(), results.cells, strict=True)
        ):
            return rows
    if list(ids[: len(results.cells)]) == results.cells:
        return np.arange(len(results.cells), dtype=np.int64)
    place = {cell: row for row, cell in enumerate(ids)}
    missing = [cell for cell in results.cells if cell not in place]
    if missing:
        problem = (
            f"{len(missing):,} of the {len(results.cells):,} described cells are not in {path}: "
            f"`{missing[0]}`"
        )
        hint = f"give the file that was described; its cells have names such as `{ids[0]}`"
        raise ReportError(problem, hint=hint)
    if len(place) < len(ids) or len(set(results.cells)) < len(results.cells):
        problem = f"names of cells repeat in {path}, so descriptions cannot be told apart by them"
        hint = "write the descriptions with `c2t describe ... --write-obs`, and report that file"
        raise ReportError(problem, hint=hint)
    return np.array([place[cell] for cell in results.cells], np.int64)


def _places(store: CellStore, path: Path, rows: NDArray[np.int64]) -> tuple[FloatArray | None, str]:
    """The plane of the file's own analysis, else the principal components of our embedding."""
    if not isinstance(store, H5adStore):
        return None, f"{path.name} keeps no embedding"
    order = np.argsort(rows, kind="stable")
    said = f"{path.name} has neither obsm[{PLANES[0]!r}] nor obsm[{EMBEDDING!r}]"
    for name in PLANES:
        try:
            found = plane_places(store.root, name, rows[order])
        except CellFileError as error:
            said = f"obsm[{name!r}] cannot be used: {error.problem}"
            continue
        if found is not None:
            places = np.full((len(rows), 2), np.nan)
            places[order] = np.stack(found, axis=1)
            return places, f"obsm[{name!r}] of {path.name}"
    try:
        components = _components(store.root, rows[order])
    except CellFileError as error:
        return None, f"obsm[{EMBEDDING!r}] cannot be used: {error.problem}"
    if components is None:
        return None, said
    places = np.full((len(rows), 2), np.nan)
    places[order] = components
    return places, f"first two principal components of obsm[{EMBEDDING!r}] of {path.name}"


def _components(file: Any, rows: NDArray[np.int64]) -> FloatArray | None:
    import h5py

    key = f"/obsm/{EMBEDDING}"
    item = child(child(file, "obsm", "/obsm"), EMBEDDING, key)
    if not isinstance(item, h5py.Dataset):
        return None
    dataset = check_dataset(item, key, dimensions=2)
    with naming(key):
        (length, width), kind = dataset.shape, dataset.dtype.kind
        span = max(1, _BLOCK_BYTES // max(1, width * dataset.dtype.itemsize))
    if kind not in "fiu" or not 1 <= width <= 1 << 14 or length <= int(rows[-1]):
        problem = f"it is {length:,} by {width:,} of type {dataset.dtype}"
        raise CellFileError(problem)

    def read(start: int, stop: int) -> NDArray[np.floating[Any]]:
        wanted = rows[start:stop]
        found = np.empty((len(wanted), width), dataset.dtype)
        done = 0
        while done < len(wanted):
            first = int(wanted[done])
            # However far apart the cells lie, a block spans so many rows and no more.
            end = int(np.searchsorted(wanted, first + span))
            block = read_dataset(dataset, slice(first, int(wanted[end - 1]) + 1), key)
            found[done:end] = block[wanted[done:end] - first]
            done = end
        return found

    return principal_plane(read, len(rows))
