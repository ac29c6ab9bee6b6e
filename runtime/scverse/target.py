"""The AnnData object that results go into: made ready before the work, filled at its end.

One decision: what cannot take columns is refused before the first cell is described, and an object
is filled in one go. If the work is interrupted, the object is as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from c2t.runtime.cells.formats.anndata_object import is_anndata
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.model import Model, open_model
from c2t.runtime.summary.categories import cells_words
from c2t.runtime.system.errors import CellFileError, OutputError

KEY = "c2t"
ModelOrPath = Model | str | Path
_MEMORY = "load it first: `adata = adata.to_memory()`"


def ready(adata: Any, *, copy: bool, key_added: str) -> Any:
    """The object to fill: the caller's, or a copy of it.

    A view becomes an object of its own, as it does when scanpy writes into one.

    Args:
        adata: What the caller gave.
        copy: Whether a copy is filled.
        key_added: Beginning of the names of what is added.

    Raises:
        CellFileError: It is no AnnData object.
        OutputError: A view or a copy of an object that a file backs, or no name to add.
    """
    if isinstance(adata, (str, Path)):
        problem = f"adata is the path {str(adata)!r}, not an AnnData object"
        raise CellFileError(problem, hint="read it first: `adata = anndata.read_h5ad(path)`")
    if not is_anndata(adata):
        problem = f"adata is {type(adata).__name__}, not an AnnData object"
        hint = "of a MuData object, pass the RNA modality: `mdata['rna']`"
        raise CellFileError(problem, hint=hint)
    if not key_added or "/" in key_added or "\0" in key_added:  # no names in an .h5ad file
        problem = f"key_added is {key_added!r}"
        raise OutputError(problem, hint='give a word such as "c2t": names of columns begin by it')
    backed = bool(getattr(adata, "isbacked", False))
    if backed and (copy or adata.is_view):
        what = "a copy" if copy else "a view"
        problem = f"adata is backed by a file, and {what} of it can take no results"
        raise OutputError(problem, hint=_MEMORY)
    if copy:
        return adata.copy()
    if adata.is_view:
        adata.obs = adata.obs.copy()  # anndata makes it an object of its own
    return adata


@contextmanager
def opened(model: ModelOrPath, options: DescribeOptions | None = None) -> Iterator[Model]:
    """A model: the caller's, which stays open, or that of a path, which is closed.

    Raises:
        BundleError: The path is no bundle.
        CellFileError: Neither a path nor a model.
    """
    if isinstance(model, Model):
        yield model
        return
    if not isinstance(model, (str, Path)):
        problem = f"model is {type(model).__name__}"
        raise CellFileError(problem, hint='give the path of a bundle, or `c2t.open("BUNDLE")`')
    with open_model(model, options) as mine:
        yield mine


def failures(errors: Sequence[str | None], instead_of: str) -> str:
    """A sentence about cells with errors; "" if there are none."""
    counted = Counter(error for error in errors if error is not None)
    if not counted:
        return ""
    error, cells = counted.most_common(1)[0]
    have = "has" if counted.total() == 1 else "have"
    return (
        f"{counted.total():,} of {cells_words(len(errors))} {have} an error instead of "
        f"{instead_of}; {cells:,}: {error}"
    )


def fill(
    adata: Any,
    obs: Mapping[str, Any],
    obsm: Mapping[str, Any],
    uns: tuple[str, Mapping[str, Any]],
) -> None:
    """Add columns, matrices and an entry of `uns`; those of an earlier call are replaced.

    Args:
        adata: The object.
        obs: Columns by name.
        obsm: Matrices by name.
        uns: Name of the entry, and what it holds.
    """
    for name, column in obs.items():
        adata.obs[name] = column
    for name, matrix in obsm.items():
        adata.obsm[name] = matrix
    name, entry = uns
    adata.uns[name] = dict(entry)
