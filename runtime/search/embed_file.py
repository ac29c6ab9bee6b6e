"""One file of cells into a file of vectors: `c2t embed` as a function.

One decision: both vectors of a cell are written, where there are two: the encoder's, for neighbours
and clusters, and the one in the joint space, which texts can be compared with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import c2t
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import EMBED
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.embedder import Embedder, EmbedOptions
from c2t.runtime.describe.embedding import embedding_sentence
from c2t.runtime.describe.searcher import check_memory
from c2t.runtime.output.audited_run import RunAudit
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.obs import check_obs
from c2t.runtime.output.obs_extras import EMBEDDING
from c2t.runtime.output.parquet import check_parquet, import_pyarrow
from c2t.runtime.output.run_settings import reading_settings
from c2t.runtime.search.into_h5ad import Addition, write_copy
from c2t.runtime.system.errors import C2TError, OutputError
from c2t.runtime.system.files import atomic_file, check_target
from c2t.runtime.system.progress import progress_bar

JOINT = "X_c2t_joint"  # in obsm, beside `EMBEDDING`
ERROR, ABOUT = "c2t_embed_error", "c2t_embed"  # in obs, in uns


@dataclass(frozen=True, kw_only=True)
class EmbedFileOptions:
    """What to embed and where to write it.

    Args:
        cells: The file of cells.
        output: The file to write; its suffix says the format: one of `FORMATS`.
        force: Replace an existing output.
        reading: How to read the cells, and which.
        embedding: How to embed them.
    """

    cells: Path
    output: Path
    force: bool = False
    reading: CellOptions = field(default_factory=CellOptions)
    embedding: EmbedOptions = field(default_factory=EmbedOptions)


@dataclass(frozen=True, kw_only=True)
class EmbedSummary:
    """How a run ended.

    Attributes:
        cells: Cells of the run.
        failed: Those of them that have an error.
        error: The most frequent error, if there is one.
        size: Numbers of an encoder's vector.
        joint_size: Numbers of a vector in the joint space; None without one.
        engine: What ran the graphs.
        seconds: Time of the run.
        output: The file written.
    """

    cells: int
    failed: int
    error: str | None
    size: int
    joint_size: int | None
    engine: str
    seconds: float
    output: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """What a file is written from.

    Attributes:
        ids: Names of the B cells.
        rows: [B] their positions in the file of cells.
        embedding: [B, H] float32; NaN for a cell with an error.
        joint: [B, J] float32, likewise; None without a joint space.
        errors: "" where there is none.
        about: Provenance: strings and numbers by name.
    """

    ids: list[str]
    rows: NDArray[np.int64]
    embedding: NDArray[np.float32]
    joint: NDArray[np.float32] | None
    errors: list[str]
    about: dict[str, Any]

    @property
    def named(self) -> dict[str, NDArray[np.float32]]:
        """The matrices that there are, by name."""
        both = {"embedding": self.embedding, "joint": self.joint}
        return {name: matrix for name, matrix in both.items() if matrix is not None}


def embed_file(
    bundle: Bundle,
    options: EmbedFileOptions,
    *,
    report: Callable[[str], None],
    audit: AuditTrail | None = None,
    audit_reason: str = "",
) -> EmbedSummary:
    """Embed the cells of a file.

    Args:
        bundle: The bundle.
        options: What and where.
        report: Told what was found out, a sentence at a time.
        audit: Told what is done: see `c2t.runtime.output.audited_run`.
        audit_reason: Why settings are others than before.

    Raises:
        AuditError: The audit trail takes no line.
        BundleError: The bundle cannot embed, or changed.
        CellFileError: The file cannot be read as counts over known genes.
        OutputError: A place that cannot be written.
        EngineError: The encoder fails.
        C2TError: No cell could be embedded, or they are too many for this machine's memory.
    """
    started = time.monotonic()
    bundle.manifest.need_task(EMBED)
    check_paths(options)
    audited = RunAudit(audit, options.cells, scope="embed", reason=audit_reason)
    with open_cells(options.cells, bundle, options.reading) as reader:
        mark = CellsMark.of(options.cells)
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        for warning in reader.warnings:
            report(f"warning: {warning}")
        embedder = Embedder(bundle, options.embedding)
        numbers = embedder.size + (embedder.joint_size or 0)
        check_memory(reader.n_cells, numbers, what="vectors")
        audited.start(
            bundle,
            engine=embedder.engine,
            cells=reader.n_cells,
            version=c2t.__version__,
            settings=reading_settings(reader),
            files={},
        )
        vectors = _embed(bundle, embedder, reader)
        bundle.check_unchanged()
        audited.check_cells()
        mark.check_unchanged(options.cells, hint="run again")
    failed = [error for error in vectors.errors if error]
    if len(failed) == len(vectors.ids):
        problem = f"no cell of {options.cells} could be embedded: {failed[0]}"
        raise C2TError(problem, hint="name other counts or genes with --layer and --gene-column")
    with atomic_file(options.output, force=options.force) as temporary:
        FORMATS[options.output.suffix].write(vectors, options.cells, temporary)
    audited.stop(cells=len(vectors.ids), failed=len(failed), outputs=[str(options.output)])
    return EmbedSummary(
        cells=len(vectors.ids),
        failed=len(failed),
        error=Counter(failed).most_common(1)[0][0] if failed else None,
        size=embedder.size,
        joint_size=embedder.joint_size,
        engine=embedder.engine,
        seconds=round(time.monotonic() - started, 3),
        output=str(options.output),
    )


def check_paths(options: EmbedFileOptions) -> None:
    """Refuse paths that would make the run fail; needs no bundle.

    Raises:
        CellFileError: The cells are not there, or no file.
        OutputError: An output that cannot or must not be written.
    """
    check_cells_path(options.cells)
    path = options.output
    if path.suffix not in FORMATS:
        problem = f"{path} has no suffix that says what to write"
        *others, last = FORMATS
        raise OutputError(problem, hint=f"end its name in {', '.join(others)} or {last}")
    check_not_cells(path, options.cells)
    check_target(path, force=options.force)
    FORMATS[path.suffix].check(options.cells)


def _embed(bundle: Bundle, embedder: Embedder, reader: CellReader) -> Vectors:
    count = reader.n_cells
    own = np.empty((count, embedder.size), dtype=np.float32)
    size = embedder.joint_size
    joint = None if size is None else np.empty((count, size), dtype=np.float32)
    errors: list[str] = []
    with progress_bar("embedding", count, unit="cells") as step:
        for part in embedder.embed(reader):
            first, stop = len(errors), len(errors) + len(part)
            own[first:stop] = part.embedding
            if joint is not None and part.joint is not None:
                joint[first:stop] = part.joint
            errors += [error or "" for error in part.errors]
            step(len(part))
    about = {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.digest,
        "precision": bundle.manifest.precision,
        "c2t_version": c2t.__version__,
        "engine": embedder.engine,
        "embedding": embedding_sentence(bundle.manifest),
        "counts": reader.counts_report.sentence,
        "genes": reader.gene_report.sentence,
        "cells": count,
        "cells_with_errors": sum(map(bool, errors)),
    }
    if joint is not None:
        about["joint"] = "the cell's place in the space of cells and texts, of length 1"
    return Vectors(
        ids=reader.cell_ids,
        rows=reader.cell_index,
        embedding=own,
        joint=joint,
        errors=errors,
        about=about,
    )


def _write_npz(vectors: Vectors, cells: Path, path: Path) -> None:
    """Arrays without pickles: `embedding`, `joint`; `cells`, `errors` and `about` as JSON in bytes.

    An array of strings has room for the longest in every place: among a million names one of 1,000
    letters would take 4 GB.
    """
    texts = {
        "cells": vectors.ids,
        "errors": [error or None for error in vectors.errors],
        "about": vectors.about,
    }
    arrays: dict[str, Any] = {
        **{
            name: np.frombuffer(msgspec.json.encode(text), np.uint8) for name, text in texts.items()
        },
        **vectors.named,
    }
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def _write_parquet(vectors: Vectors, cells: Path, path: Path) -> None:
    """A row a cell: `cell`, lists of float32, `error`; null for a cell with an error."""
    pyarrow, parquet = import_pyarrow()
    failed = np.array([bool(error) for error in vectors.errors])
    columns: dict[str, Any] = {"cell": pyarrow.array(vectors.ids, pyarrow.string())}
    for name, matrix in vectors.named.items():
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(matrix.ravel()), matrix.shape[1], mask=pyarrow.array(failed)
        )
    errors = [error or None for error in vectors.errors]
    columns["error"] = pyarrow.array(errors, pyarrow.string())
    table = pyarrow.table(columns)
    table = table.replace_schema_metadata({"c2t": msgspec.json.encode(vectors.about)})
    parquet.write_table(table, path, compression="zstd")


def _write_h5ad(vectors: Vectors, cells: Path, path: Path) -> None:
    names = {"embedding": EMBEDDING, "joint": JOINT}
    addition = Addition(
        rows=vectors.rows,
        errors=(ERROR, vectors.errors),
        matrices={names[name]: matrix for name, matrix in vectors.named.items()},
        about=(ABOUT, vectors.about),
    )
    write_copy(cells, path, addition)


@dataclass(frozen=True)
class OutputFormat:
    """How vectors become a file, and what refuses the file of cells before the work."""

    write: Callable[[Vectors, Path, Path], None]
    check: Callable[[Path], None] = lambda cells: None


FORMATS = {
    ".npz": OutputFormat(_write_npz),
    ".parquet": OutputFormat(_write_parquet, check_parquet),
    ".h5ad": OutputFormat(_write_h5ad, check_obs),
}
