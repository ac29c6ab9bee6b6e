"""`c2t.tl.describe`: descriptions of the cells of an AnnData object, inside the object."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.embedding import embedding_sentence
from c2t.runtime.describe.model import Model
from c2t.runtime.output.describe_file import make_run
from c2t.runtime.output.record import EMBEDDING_KEY, make_record
from c2t.runtime.scverse.columns import description_columns, stale_columns
from c2t.runtime.scverse.target import KEY, ModelOrPath, failures, fill, opened, ready
from c2t.runtime.system.progress import tracked


def describe(
    adata: Any,
    model: ModelOrPath,
    *,
    reading: CellOptions | None = None,
    options: DescribeOptions | None = None,
    embedding: bool = True,
    key_added: str = KEY,
    copy: bool = False,
) -> Any:
    """Describe the cells of an AnnData object in words.

    Counts and genes are found as `c2t describe` finds them: in `X`, `raw` or a layer, by the values
    themselves. Progress is shown on standard error. An object that is backed by a file is filled in
    memory; its file stays as it is.

    Args:
        adata: Cells x genes; a view becomes an object of its own.
        model: A bundle's path, or what `c2t.open` gave, which is quicker from the second call on.
        reading: How to read the cells, and which; None: all cells. For instance
            `c2t.CellOptions(layer="counts", gene_column="gene_ids", limit=100)`.
        options: How to describe; None: the model's own.
        embedding: Add the encoder's embedding of each cell, ready for neighbours.
        key_added: Beginning of the names of what is added.
        copy: Fill a copy and return it.

    Returns:
        The copy if `copy`, else None. Added are, with the usual key, for cells that were asked for:
        `obs["c2t_description"]`, the text; `obs["c2t_confidence"]` and
        `obs["c2t_cell_type_confidence"]`, 0 to 1; `obs["c2t_error"]`, "" where all is well;
        `obs["c2t_cell_type"]`, `..."c2t_tissue"]`, what the text says, as categories;
        `obsm["X_c2t"]`, float32 [cells, H], NaN for a cell that the encoder did not take; and
        `uns["c2t"]`, how they were made, and what the embedding is.

    Warns:
        UserWarning: What is doubtful about the cells; how many have an error.

    Raises:
        CellFileError: No AnnData object, or no counts over known genes in it.
        OutputError: An object that can take no results: a view of one that a file backs.
        EngineError: No engine runs here, or the model is closed.

    Examples:
        >>> import anndata, c2t
        >>> adata = anndata.read_h5ad("cells.h5ad")
        >>> c2t.tl.describe(adata, "BUNDLE")
        >>> adata.obs["c2t_cell_type"].value_counts()
    """
    target = ready(adata, copy=copy, key_added=key_added)
    with opened(model, options) as mine:
        options = replace(options or mine.options, embedding=embedding)
        reading = reading or CellOptions(filter_pass=False)
        with open_cells(target, mine.bundle, reading) as reader:
            for warning in reader.warnings:
                warnings.warn(warning, stacklevel=2)
            described = list(
                tracked("describing", mine.describe(reader, options), reader.n_cells, unit="cells")
            )
            shape = target.n_obs, mine.bundle.manifest.gene_input.hidden_size
            rows, about = reader.cell_index, _about(mine, reader, options)
    records = [make_record(int(row), one) for row, one in zip(rows, described, strict=True)]
    columns = description_columns(records, target.n_obs, key_added)
    for name in stale_columns([str(name) for name in target.obs.columns], columns, key_added):
        del target.obs[name]
    matrices = {f"X_{key_added}": _embeddings(rows, described, shape)} if embedding else {}
    fill(target, columns, matrices, (key_added, about))
    if failed := failures([one.error for one in described], "a description"):
        warnings.warn(failed, stacklevel=2)
    return target if copy else None


def _embeddings(
    rows: NDArray[np.int64], described: Sequence[Description], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """[cells, H]; NaN, which stops whoever computes neighbours, for a cell without one."""
    matrix = np.full(shape, np.nan, np.float32)
    for row, one in zip(rows.tolist(), described, strict=True):
        if one.embedding is not None:
            matrix[row] = one.embedding
    return matrix


def _about(model: Model, reader: CellReader, options: DescribeOptions | None) -> dict[str, Any]:
    """How the descriptions were made: what `c2t describe` writes, and when."""
    run = make_run(Path(reader.name), reader, model.describer(options), bundle=model.bundle)
    about = dict(run.about)
    if options is not None and options.embedding:
        about[EMBEDDING_KEY] = {
            "is": embedding_sentence(model.bundle.manifest),
            "size": model.bundle.manifest.gene_input.hidden_size,
            "cells_without": "NaN",
        }
    return {**about, "date": datetime.now(UTC).isoformat(timespec="seconds")}
