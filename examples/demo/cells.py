"""Labelled cells of the training files, with what their captions will say.

One decision: a file is known by its stem, which leads to its entry in the caption table; cells
whose label has no entry there (doublets, "unknown") are dropped.
"""

import csv
import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from c2t.examples.demo.captions import CaptionTable, Donor
from c2t.examples.demo.held_out import is_held_out


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledSet:
    """The labelled cells of one file.

    Attributes:
        name: Stem of the file's name.
        cell_ids: [N] names of the cells in the file.
        gene_ids: [C] Ensembl id of each column without version, "" where there is none.
        symbols: [C] symbol of each column, "" where there is none.
        counts: [N, C] raw counts.
        totals: [N] total counts of each cell over all genes that were sequenced.
        cell_types: [N] names of `CaptionTable.definitions`.
        donors: [N] what the caption says about the origin.
        groups: [N] the file's own label, which the sampler balances.
        held_out: [N] True for cells that training never sees.
    """

    name: str
    cell_ids: list[str]
    gene_ids: list[str]
    symbols: list[str]
    counts: csr_matrix
    totals: NDArray[np.float64]
    cell_types: list[str]
    donors: list[Donor]
    groups: list[str]
    held_out: NDArray[np.bool_]


def read_gene_symbols(path: Path) -> dict[str, str]:
    """Ensembl id -> symbol, from a CELLxGENE gene table (id, symbol, version, length, biotype)."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return {row[0]: row[1] for row in csv.reader(file)}


def read_labelled_sets(
    paths: Iterable[Path], table: CaptionTable, gene_symbols: dict[str, str]
) -> list[LabelledSet]:
    """Read files whose stem has an entry in the caption table; cells of other labels are dropped.

    A file without Ensembl ids gets them by symbol: those of the other files first, then those of
    `gene_symbols`.
    """
    opened = [(path.stem, anndata.read_h5ad(path)) for path in paths]
    known: dict[str, str] = {}
    for _, data in opened:
        for gene, symbol in zip(*_columns(data, gene_symbols, {}), strict=True):
            if gene and symbol:
                known.setdefault(symbol, gene)
    for gene, symbol in gene_symbols.items():
        known.setdefault(symbol, gene)
    return [_read_set(name, data, table, gene_symbols, known) for name, data in opened]


def _columns(
    data: anndata.AnnData, gene_symbols: dict[str, str], known: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Ensembl id and symbol of each column, "" for what is not there."""
    names = [str(name) for name in data.var_names]
    if "ensembl_id" in data.var:
        column = data.var["ensembl_id"]
        ids = [str(v) if str(v).startswith("ENSG") else "" for v in column]
    elif names[0].startswith("ENSG"):
        ids = names
    else:
        ids = [known.get(name, "") for name in names]
    ids = [gene.split(".")[0] for gene in ids]
    for field in ("gene_symbol", "feature_name"):
        if field in data.var:
            symbols = [str(v) for v in data.var[field]]
            break
    else:
        by_id = names[0].startswith("ENSG")
        symbols = [gene_symbols.get(g, "") for g in ids] if by_id else names
    return ids, symbols


def _read_set(
    name: str,
    data: anndata.AnnData,
    table: CaptionTable,
    gene_symbols: dict[str, str],
    known: dict[str, str],
) -> LabelledSet:
    entry = table.sets[name]
    labels = data.obs[entry["label_column"]].astype(str)
    rows = np.flatnonzero(labels.isin(list(entry["labels"])).to_numpy())
    most = entry.get("most_cells")
    if most is not None and len(rows) > most:
        # A fixed choice that does not depend on the order of the file.
        digests = [
            hashlib.sha256(b"choose " + str(data.obs_names[i]).encode()).digest() for i in rows
        ]
        rows = np.sort(rows[sorted(range(len(rows)), key=digests.__getitem__)[:most]])
    data = data[rows].copy()
    labels = labels.iloc[rows]
    counts = csr_matrix(data.X, dtype=np.float64)
    total_column = entry["total_column"]
    totals = np.asarray(
        data.obs[total_column] if total_column else counts.sum(axis=1), dtype=np.float64
    ).ravel()
    gene_ids, symbols = _columns(data, gene_symbols, known)
    cell_ids = [str(cell) for cell in data.obs_names]
    sexes, ages = (_field(data, entry[field]) for field in ("sex", "age"))
    return LabelledSet(
        name=name,
        cell_ids=cell_ids,
        gene_ids=gene_ids,
        symbols=symbols,
        counts=counts,
        totals=totals,
        cell_types=[entry["labels"][label] for label in labels],
        donors=[
            Donor(tissue=entry["tissue"], disease=entry["disease"], sex=sex, age=age)
            for sex, age in zip(sexes, ages, strict=True)
        ],
        groups=list(labels),
        held_out=np.array([is_held_out(cell) for cell in cell_ids]),
    )


def _field(data: anndata.AnnData, field: Any) -> list[str | None]:
    """A field that is one value for all cells, or a column and the wording of its values."""
    if not isinstance(field, dict):
        return [field] * data.n_obs
    return [field["values"][str(value)] for value in data.obs[field["column"]]]
