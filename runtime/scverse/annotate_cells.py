"""`c2t.tl.annotate`: the probability of given labels, inside an AnnData object."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import c2t
from c2t.runtime.annotate.calibration import load_calibration
from c2t.runtime.annotate.labels import Label, Labels, checked, id_doubts, read_labels
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.annotator import AnnotateOptions
from c2t.runtime.describe.labelled_cell import LabelledCell, no_label_fits
from c2t.runtime.fields.open import open_fields
from c2t.runtime.scverse.figure import needed
from c2t.runtime.scverse.target import KEY, ModelOrPath, failures, fill, opened, ready
from c2t.runtime.system.progress import tracked


def annotate(
    adata: Any,
    model: ModelOrPath,
    labels: Sequence[str] | str | Path,
    *,
    calibration: str | Path | None = None,
    reading: CellOptions | None = None,
    options: AnnotateOptions | None = None,
    key_added: str = KEY,
    copy: bool = False,
) -> Any:
    """Compare given labels for the cells of an AnnData object.

    Args:
        adata: Cells x genes; a view becomes an object of its own.
        model: A bundle's path, or what `c2t.open` gave.
        labels: Labels in the words of captions; or the path of a file of them; or the id of an
            ontology's term, for it and all below it.
        calibration: File that `c2t annotate --save-calibration` wrote for these labels.
        reading: How to read the cells, and which; None: all cells.
        options: How to compare; None: with the model's own engine and threads.
        key_added: Beginning of the names of what is added.
        copy: Fill a copy and return it.

    Returns:
        The copy if `copy`, else None. Added are, with the usual key: `obs["c2t_label"]`, the most
        probable label (a category), `obs["c2t_label_id"]` where labels have ids;
        `obs["c2t_label_probability"]`, among the labels; `obs["c2t_label_mass"]`, what the model
        gives to all of them; `obs["c2t_label_error"]`; `obsm["c2t_label_probabilities"]`, float32
        [cells, labels], in the order of `uns["c2t_labels"]["labels"]`.

    Warns:
        UserWarning: What is doubtful about the cells or the labels; in how many cells no label
            fits; how many cells have an error.

    Raises:
        CellFileError: No AnnData object, or no counts over known genes in it.
        LabelError: No labels, one twice, or one that no caption could say.
        OutputError: An object that can take no results.

    Examples:
        >>> c2t.tl.annotate(adata, "BUNDLE", ["B cell", "natural killer cell", "platelet"])
        >>> adata.obs["c2t_label"].value_counts()
    """
    target = ready(adata, copy=copy, key_added=key_added)
    wanted = _labels(labels)
    with opened(model) as mine:
        if calibration is not None:
            fitted = load_calibration(Path(calibration), wanted.names, mine.bundle)
            own = mine.options
            base = options or AnnotateOptions(
                threads=own.threads, prepack=own.prepack, engine=own.engine
            )
            options = replace(base, temperature=fitted.temperature)
        with open_cells(target, mine.bundle, reading or CellOptions(filter_pass=False)) as reader:
            for warning in reader.warnings:
                warnings.warn(warning, stacklevel=2)
            annotator = mine.annotator(wanted.names, options)
            for doubt in (*id_doubts(wanted, open_fields(mine.bundle)), *annotator.doubts):
                warnings.warn(doubt, stacklevel=2)
            cells = annotator.annotate(reader)
            found = list(tracked("annotating", cells, reader.n_cells, unit="cells"))
            about = {
                "bundle": mine.bundle.manifest.name,
                "bundle_sha256": mine.bundle.digest,
                "precision": mine.bundle.manifest.precision,
                "c2t_version": c2t.__version__,
                "labels_from": wanted.source,
                "temperature": 1.0 if options is None else options.temperature,
                "counts": reader.counts_report.sentence,
                "genes": reader.gene_report.sentence,
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "labels": np.array(wanted.names, dtype=object),
            }
            rows = reader.cell_index
    if wanted.ids is not None:
        about["ids"] = np.array(wanted.ids, dtype=object)
    fill(
        target,
        _columns(rows, found, wanted, target.n_obs, key_added),
        {f"{key_added}_label_probabilities": _matrix(rows, found, wanted, target.n_obs)},
        (f"{key_added}_labels", about),
    )
    for unfit in no_label_fits(cell.mass for cell in found):
        warnings.warn(unfit, stacklevel=2)
    if failed := failures([cell.error for cell in found], "an annotation"):
        warnings.warn(failed, stacklevel=2)
    return target if copy else None


def _labels(labels: Sequence[str] | str | Path) -> Labels:
    if isinstance(labels, (str, Path)):
        return read_labels(str(labels))
    return checked([Label(str(label)) for label in labels], "the list of labels")


def _columns(
    rows: NDArray[np.int64], found: Sequence[LabelledCell], labels: Labels, cells: int, key: str
) -> dict[str, Any]:
    pandas = needed("pandas")
    codes, error = np.full(cells, -1), np.full(cells, "", dtype=object)
    probability, mass = np.full(cells, np.nan), np.full(cells, np.nan)
    for row, cell in zip(rows.tolist(), found, strict=True):
        error[row] = cell.error or ""
        if cell.best is not None:
            codes[row] = cell.best
            probability[row], mass[row] = cell.probability, cell.mass
    columns = {
        "label": pandas.Categorical.from_codes(codes, list(labels.names)),
        "label_probability": probability,
        "label_mass": mass,
        "label_error": pandas.Categorical(error),
    }
    if labels.ids is not None:
        of_label = np.array([*labels.ids, ""], dtype=object)
        columns["label_id"] = pandas.Categorical(of_label[codes])
    return {f"{key}_{name}": values for name, values in columns.items()}


def _matrix(
    rows: NDArray[np.int64], found: Sequence[LabelledCell], labels: Labels, cells: int
) -> NDArray[np.float32]:
    matrix = np.full((cells, len(labels.labels)), np.nan, np.float32)
    for row, cell in zip(rows.tolist(), found, strict=True):
        if cell.probabilities is not None:
            matrix[row] = cell.probabilities
    return matrix
