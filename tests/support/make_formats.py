"""The same cells in every format that is read, written as their makers write them."""

from __future__ import annotations

import csv
import gzip
import shutil
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from cell_libraries import anndata, sp

GENE_KIND = "Gene Expression"


def counts_of(cells: anndata.AnnData) -> Any:
    """Its counts, cells x genes, by rows."""
    return sp.csr_matrix(cells.X)


def ids_of(cells: anndata.AnnData) -> list[str]:
    """Ensembl ids: of the column that has them, else the index."""
    for name in ("ensembl_id", "gene_ids"):
        if name in cells.var:
            return cells.var[name].astype(str).tolist()
    return cells.var_names.tolist()


def symbols_of(cells: anndata.AnnData) -> list[str]:
    """Symbols: of the column that has them, else the index."""
    if "gene_symbol" in cells.var:
        return cells.var["gene_symbol"].astype(str).tolist()
    return cells.var_names.tolist()


def write_tenx(path: Path, cells: anndata.AnnData, **features: Sequence[str]) -> Path:
    """As CellRanger 3 and newer."""
    x, genes = counts_of(cells), cells.n_vars
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        _sparse(group, x)
        group["barcodes"] = np.array(cells.obs_names.tolist(), dtype="S")
        columns: dict[str, Sequence[str]] = {
            "id": ids_of(cells),
            "name": symbols_of(cells),
            "feature_type": [GENE_KIND] * genes,
            "genome": ["GRCh38"] * genes,
        } | features
        for name, values in columns.items():
            group[f"features/{name}"] = np.array(list(values), dtype="S")
        group["features/_all_tag_keys"] = np.array([b"genome"])
    return path


def write_tenx_2(path: Path, cells: anndata.AnnData, genomes: Sequence[str] = ("GRCh38",)) -> Path:
    """As CellRanger 2: a group for each genome."""
    with h5py.File(path, "w") as file:
        for genome in genomes:
            group = file.create_group(genome)
            _sparse(group, counts_of(cells))
            group["barcodes"] = np.array(cells.obs_names.tolist(), dtype="S")
            group["genes"] = np.array(ids_of(cells), dtype="S")
            group["gene_names"] = np.array(symbols_of(cells), dtype="S")
    return path


def write_mudata(path: Path, **modalities: anndata.AnnData) -> Path:
    """As muon: a group for each modality, and a table of all cells."""
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "MuData"
        for name, cells in modalities.items():
            anndata.io.write_elem(file, f"mod/{name}", cells)
        first = next(iter(modalities.values()))
        whole = first.obs.rename(columns={name: f"rna:{name}" for name in first.obs})
        whole["lab"] = "here"
        anndata.io.write_elem(file, "obs", whole[::-1])
        anndata.io.write_elem(file, "var", first.var)
    return path


def write_loom(path: Path, cells: anndata.AnnData, layers: Sequence[str] = ()) -> Path:
    """As loompy: genes x cells in chunks of 64 x 64."""
    x = counts_of(cells).toarray().T
    chunks = tuple(min(64, n) for n in x.shape)
    with h5py.File(path, "w") as file:
        file.attrs["LOOM_SPEC_VERSION"] = "3.0.0"
        file.create_dataset("matrix", data=x, chunks=chunks, compression="gzip")
        for name in layers:
            file.create_dataset(f"layers/{name}", data=x, chunks=chunks, compression="gzip")
        text = h5py.string_dtype()
        rows = {"Gene": symbols_of(cells), "Accession": ids_of(cells)}
        columns = {"CellID": cells.obs_names.tolist()}
        columns |= {name: cells.obs[name].astype(str).tolist() for name in cells.obs}
        for folder, attributes in (("row_attrs", rows), ("col_attrs", columns)):
            file.create_group(folder)
            for name, values in attributes.items():
                file[folder].create_dataset(name, data=values, dtype=text)
        file["col_attrs/X_umap"] = np.zeros((cells.n_obs, 2))
        file.create_group("attrs")
    return path


def write_gz(path: Path, cells: anndata.AnnData) -> Path:
    """An `.h5ad` file, packed."""
    plain = path.with_name(f"{path.name}.plain")
    cells.write_h5ad(plain)
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
    plain.unlink()
    return path


def matrix_text(x: Any, *, kind: str = "integer", by_column: bool = True) -> str:
    """A MatrixMarket matrix of rows x columns."""
    entries = (sp.csc_matrix(x) if by_column else sp.csr_matrix(x)).tocoo()
    order = np.lexsort((entries.row, entries.col) if by_column else (entries.col, entries.row))
    rows, columns, values = (part[order] for part in (entries.row, entries.col, entries.data))
    shown = values.astype(int) if kind == "integer" else values
    lines = [
        f"{r} {c} {v}\n"
        for r, c, v in zip((rows + 1).tolist(), (columns + 1).tolist(), shown.tolist(), strict=True)
    ]
    head = f"%%MatrixMarket matrix coordinate {kind} general\n%metadata_json: {{}}\n"
    return head + f"{x.shape[0]} {x.shape[1]} {len(lines)}\n" + "".join(lines)


def put(path: Path, text: str) -> Path:
    """Write a text, packed where its name ends in `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        with gzip.open(path, "wt", compresslevel=1, encoding="utf-8", newline="") as stream:
            stream.write(text)
    else:
        path.write_text(text, encoding="utf-8", newline="")
    return path


def write_mex(
    folder: Path,
    cells: anndata.AnnData,
    *,
    matrix: str = "matrix.mtx.gz",
    genes: str = "features.tsv.gz",
    barcodes: str = "barcodes.tsv.gz",
    columns: Callable[[anndata.AnnData], Sequence[Sequence[str]]] | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """As 10x, with other names of files where they are given."""
    fields = columns(cells) if columns else [ids_of(cells), symbols_of(cells), _kinds(cells)]
    put(folder / matrix, matrix_text(counts_of(cells).T))
    put(folder / genes, "".join("\t".join(row) + "\n" for row in zip(*fields, strict=True)))
    put(folder / barcodes, "".join(f"{name}\n" for name in names or cells.obs_names))
    return folder


def write_parse(folder: Path, cells: anndata.AnnData) -> Path:
    """As Parse Biosciences' pipeline: cells x genes, with names as CSV."""
    put(folder / "count_matrix.mtx", matrix_text(counts_of(cells), by_column=False))
    rows = zip(ids_of(cells), symbols_of(cells), strict=True)
    lines = "".join(f"{gene},{symbol},hg38\n" for gene, symbol in rows)
    put(folder / "all_genes.csv", "gene_id,gene_name,genome\n" + lines)
    labels = cells.obs.iloc[:, 0].astype(str)
    lines = "".join(f'{c},"{label}"\n' for c, label in zip(cells.obs_names, labels, strict=True))
    put(folder / "cell_metadata.csv", f"bc_wells,{cells.obs.columns[0]}\n" + lines)
    return folder


def zipped(path: Path, folder: Path, prefix: str = "") -> Path:
    """A folder as a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def write_zarr(path: Path, cells: anndata.AnnData, version: int) -> Path:
    """As anndata, in a format of zarr."""
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=version):
        warnings.simplefilter("ignore")  # that format 2 is old, and will be no default
        cells.write_zarr(path)
    return path


def write_table(
    path: Path,
    cells: anndata.AnnData,
    *,
    genes_are_rows: bool = False,
    separator: str = ",",
    quoting: int = csv.QUOTE_MINIMAL,
    corner: str | None = "",
    front: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """A table of integers, with ids of genes.

    Args:
        path: The file; packed where its name ends in `.gz`.
        cells: The cells.
        genes_are_rows: Whether it is genes x cells.
        separator: Between the fields.
        quoting: See `csv`.
        corner: Over the names of the lines; None for a first line that is one field shorter.
        front: Further columns before the counts.
    """
    x, front = counts_of(cells).toarray().astype(int), front or {}
    lines, columns = cells.obs_names.tolist(), ids_of(cells)
    if genes_are_rows:
        x, lines, columns = x.T, columns, lines
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator="\n")
        writer.writerow([*([] if corner is None else [corner]), *front, *columns])
        for number, name in enumerate(lines):
            writer.writerow(
                [name, *(values[number] for values in front.values()), *x[number].tolist()]
            )
    return path


def _kinds(cells: anndata.AnnData) -> list[str]:
    return [GENE_KIND] * cells.n_vars


def _sparse(group: h5py.Group, x: Any) -> None:
    """Cells x genes by rows, which is genes x cells by columns."""
    kinds = {"data": "i4", "indices": "i8", "indptr": "i8"}
    for name, kind in kinds.items():
        values = getattr(x, name).astype(kind)
        group.create_dataset(name, data=values, chunks=True if len(values) else None)
    group["shape"] = np.array(x.shape[::-1], dtype="i4")


def _zarr(version: int, *, packed: bool = False) -> Callable[[Path, anndata.AnnData], Path]:
    def write(folder: Path, cells: anndata.AnnData) -> Path:
        store = write_zarr(folder / "cells.zarr", cells, version)
        return zipped(folder / "cells.zarr.zip", store, "cells.zarr/") if packed else store

    return write


# Name -> writes the cells into a folder, and returns what is opened.
FORMATS: dict[str, Callable[[Path, anndata.AnnData], Path]] = {
    "10x": lambda folder, cells: write_tenx(folder / "filtered_feature_bc_matrix.h5", cells),
    "10x 2": lambda folder, cells: write_tenx_2(folder / "genes_h5.h5", cells),
    "MuData": lambda folder, cells: write_mudata(folder / "cells.h5mu", rna=cells),
    "Loom": lambda folder, cells: write_loom(folder / "cells.loom", cells),
    "h5ad.gz": lambda folder, cells: write_gz(folder / "cells.h5ad.gz", cells),
    "MEX": lambda folder, cells: write_mex(folder / "filtered_feature_bc_matrix", cells),
    "MEX zip": lambda folder, cells: zipped(
        folder / "s1_RSEC_MolsPerCell_MEX.zip", write_mex(folder / "mex", cells)
    ),
    "Parse": lambda folder, cells: write_parse(folder / "DGE_filtered", cells),
    "zarr 2": _zarr(2),
    "zarr 3": _zarr(3),
    "zarr 3 zip": _zarr(3, packed=True),
    "csv": lambda folder, cells: write_table(folder / "cells.csv", cells),
    "tsv.gz": lambda folder, cells: write_table(
        folder / "cells.tsv.gz", cells, genes_are_rows=True, separator="\t", corner="gene"
    ),
}
