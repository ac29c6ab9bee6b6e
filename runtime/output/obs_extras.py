"""What an `.h5ad` output has besides the description: each cell's group, and its embedding.

One decision: a cell without an embedding has NaN in `obsm`. Zeros would make it the neighbour of
others like it, without a word. NaN stops whoever computes neighbours, and CELLxGENE allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from c2t.runtime.cells.formats.hdf5 import child, open_hdf5
from c2t.runtime.output.categories import Categories
from c2t.runtime.output.h5ad_elements import write_element
from c2t.runtime.output.record import GROUP_FIELDS, GroupedRecord, Record, embedding_array
from c2t.runtime.system.errors import OutputError

GROUP_COLUMNS = tuple(f"c2t_{name}" for name in GROUP_FIELDS)
EMBEDDING = "X_c2t"
BLOCK = 4096  # cells whose embeddings are written at once


class Watcher(Protocol):
    """Told of each record, in the order of the rows."""

    def add(self, record: Record) -> None:
        """One more record."""

    def finish(self) -> None:
        """That was the last one."""


def told(records: Iterable[Record], watchers: Sequence[Watcher]) -> Iterator[Record]:
    """The same records; watchers are told of each."""
    for record in records:
        for watcher in watchers:
            watcher.add(record)
        yield record
    for watcher in watchers:
        watcher.finish()


class GroupValues:
    """The columns of the cells' groups.

    Args:
        length: Rows of `obs`.
    """

    def __init__(self, length: int) -> None:
        self._texts = [Categories(length) for _ in GROUP_COLUMNS[:-1]]
        self._share = np.full(length, np.nan)

    def add(self, record: Record) -> None:
        """See `Watcher.add`."""
        if not isinstance(record, GroupedRecord):
            return
        for column, name in zip(self._texts, GROUP_FIELDS, strict=False):
            if text := getattr(record, name):
                column.set(record.row, text.replace("\0", "\ufffd"))
        if record.group_share is not None:
            self._share[record.row] = record.group_share

    def finish(self) -> None:
        """See `Watcher.finish`."""

    def columns(self) -> dict[str, Any]:
        """Values by column, texts as categories; missing and NaN for cells in no group."""
        texts = (column.sorted() for column in self._texts)
        return dict(zip(GROUP_COLUMNS, (*texts, self._share), strict=True))


class EmbeddingRows:
    """Writes `obsm["X_c2t"]`, some cells at a time.

    Args:
        file: The opened copy.
        length: Rows of `obs`.
        width: H.
    """

    def __init__(self, file: Any, length: int, width: int) -> None:
        if "obsm" not in file:
            write_element(file, "obsm", {})
        if EMBEDDING in file["obsm"]:
            del file["obsm"][EMBEDDING]
        self._dataset = file["obsm"].create_dataset(
            EMBEDDING,
            (length, width),
            np.float32,
            fillvalue=np.nan,
            chunks=(min(length, 1024), width),
        )
        attributes = self._dataset.attrs
        attributes["encoding-type"], attributes["encoding-version"] = "array", "0.2.0"
        self._rows: list[int] = []
        self._vectors: list[np.ndarray[Any, Any]] = []

    def add(self, record: Record) -> None:
        """See `Watcher.add`."""
        vector = embedding_array(record)
        if vector is None:
            return
        self._rows.append(record.row)
        self._vectors.append(vector)
        if len(self._rows) == BLOCK:
            self.finish()

    def finish(self) -> None:
        """See `Watcher.finish`."""
        if self._rows:
            first, end = self._rows[0], self._rows[-1] + 1
            if end - first == len(self._rows):
                self._dataset[first:end] = np.stack(self._vectors)
            else:
                self._dataset[self._rows] = np.stack(self._vectors)
        self._rows, self._vectors = [], []


def check_obsm(file: Any) -> None:
    """Refuse a file with a link where an embedding goes: it would lead the writer elsewhere.

    Raises:
        CellFileError: There is one.
    """
    import h5py

    obsm = child(file, "obsm", "/obsm")
    if isinstance(obsm, h5py.Group):
        child(obsm, EMBEDDING, f"/obsm/{EMBEDDING}")


def check_embedding_place(source: Path) -> None:
    """Refuse a file whose `obsm` cannot take an embedding, before it is described.

    Raises:
        OutputError: It is no group.
    """
    import h5py

    if not source.is_file() or not h5py.is_hdf5(source):
        return
    with closing(open_hdf5(source)) as file:
        obsm = child(file, "obsm", "/obsm")
        if not (obsm is None or isinstance(obsm, h5py.Group)):
            problem = f"{source} holds no group where /obsm should be, so no embedding can be added"
            raise OutputError(problem, hint="leave --embedding out, or write .parquet")


def forget_embedding(file: Any) -> None:
    """Remove the embedding of an earlier description, which another model may have made."""
    import h5py

    obsm = file.get("obsm")
    if isinstance(obsm, h5py.Group) and EMBEDDING in obsm:
        del obsm[EMBEDDING]
