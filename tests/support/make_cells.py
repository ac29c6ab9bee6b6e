"""Small sets of cells and a vocabulary for them, made by script, and files in old encodings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from cell_libraries import anndata, pd, sp

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader

GENES = 80
CELLS = 40
SEED = 7
IDS = [f"ENSG{i:011d}" for i in range(1, GENES + 1)]
SYMBOLS = [f"GENE{i}" for i in range(1, GENES + 1)]

V1 = GeneInput(
    input_size=16,
    vocabulary_size=GENES + 2,
    hidden_size=8,
    layer_norm_epsilon=1e-12,
    pad_token=0,
    cls_token=None,
    eos_token=None,
)
V2 = GeneInput(
    input_size=16,
    vocabulary_size=GENES + 4,
    hidden_size=8,
    layer_norm_epsilon=1e-12,
    pad_token=0,
    cls_token=2,
    eos_token=3,
)


def vocabulary(genes: int = GENES) -> GeneVocabulary:
    """The first `genes` genes, known by id and by symbol; tokens in an order of their own."""
    rng = np.random.default_rng(SEED)
    return GeneVocabulary(
        ensembl_id=np.array(IDS[:genes], dtype="S"),
        token=(rng.permutation(GENES) + 4).astype(np.int32)[:genes],
        median=rng.uniform(0.5, 4, GENES)[:genes],
        alias=np.array(SYMBOLS[:genes], dtype="S"),
        alias_gene=np.arange(genes, dtype=np.int32),
    )


def counts(cells: int = CELLS, genes: int = GENES) -> np.ndarray:
    """Counts [cells, genes] float32: half zeros, totals that differ several-fold."""
    rng = np.random.default_rng(SEED)
    depth = rng.lognormal(0, 0.6, (cells, 1))
    return rng.poisson(rng.gamma(0.6, 2.0, (1, genes)) * depth).astype(np.float32)


def cp10k(values: np.ndarray) -> np.ndarray:
    """Each cell scaled to a total of 10,000."""
    return values / values.sum(axis=1, keepdims=True) * 1e4


def tpm(values: np.ndarray) -> np.ndarray:
    """Each gene divided by a length of its own, each cell scaled to a million."""
    lengths = np.random.default_rng(SEED).uniform(0.5, 6, values.shape[1])
    return cp10k(values / lengths) * 100


def z_scores(values: np.ndarray) -> np.ndarray:
    """Each gene centred and scaled."""
    return (values - values.mean(axis=0)) / (values.std(axis=0) + 1)


def adata(x: np.ndarray | sp.spmatrix | None = None, **layers: np.ndarray) -> anndata.AnnData:
    """Cells with Ensembl ids in `var_names`, symbols in `var`, and a label."""
    x = sp.csr_matrix(counts()) if x is None else x
    cells, genes = x.shape
    return anndata.AnnData(
        X=x,
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(["B cell", "T cell"] * (cells // 2))},
            index=[f"cell{i}" for i in range(cells)],
        ),
        var=pd.DataFrame({"gene_symbol": SYMBOLS[:genes]}, index=IDS[:genes]),
        layers=layers or None,
    )


def named(
    names: Iterable[object], x: np.ndarray | sp.spmatrix | None = None, **columns: Iterable[object]
) -> anndata.AnnData:
    """Cells whose gene table has these names, and these columns."""
    x = sp.csr_matrix(counts()) if x is None else x
    return anndata.AnnData(
        X=x,
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(x.shape[0])]),
        var=pd.DataFrame(columns, index=[str(name) for name in names]),
    )


def write(path: Path, cells: anndata.AnnData, compression: str | None = None) -> Path:
    """Write as anndata does."""
    cells.write_h5ad(path, compression=compression)
    return path


def write_first_version(path: Path, *, categories_in_uns: bool = True) -> Path:
    """Write as anndata 0.6 did: compound tables, `raw.X` at the root, `h5sparse_format`."""
    x = sp.csr_matrix(counts())
    with h5py.File(path, "w") as file:
        obs = np.zeros(CELLS, [("index", "S10"), ("cell_type", "i1")])
        obs["index"] = [f"cell{i}".encode() for i in range(CELLS)]
        obs["cell_type"] = np.arange(CELLS) % 2
        var = np.zeros(GENES, [("index", "S20"), ("n", "f4")])
        var["index"] = [name.encode() for name in IDS]
        file.create_dataset("obs", data=obs)
        file.create_dataset("var", data=var)
        file.create_dataset("raw.var", data=var)
        file.create_dataset("X", data=z_scores(counts()))
        group = file.create_group("raw.X")
        group.attrs["h5sparse_format"] = "csr"
        group.attrs["h5sparse_shape"] = x.shape
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(x, name))
        uns = file.create_group("uns")
        if categories_in_uns:
            uns.create_dataset("cell_type_categories", data=[b"B cell", b"T cell"])
    return path


def write_second_version(path: Path) -> Path:
    """Write as anndata 0.7 did: a categorical column refers to `__categories` by an attribute."""
    write(path, adata())
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        codes, labels = obs["cell_type/codes"][:], obs["cell_type/categories"][:]
        del obs["cell_type"]
        kept = obs.create_group("__categories").create_dataset(
            "cell_type", data=labels, dtype=h5py.string_dtype()
        )
        obs.create_dataset("cell_type", data=codes).attrs["categories"] = kept.ref
        for name in ("encoding-type", "encoding-version"):
            del file["X"].attrs[name]
            del file.attrs[name]
        obs.attrs["encoding-version"] = "0.1.0"
    return path


def relative_values(reader: CellReader) -> dict[str, dict[int, float]]:
    """count / median of each gene token of each cell, computed without the encoder."""
    genes, column_gene = reader.genes, reader.gene_match.column_gene
    values: dict[str, dict[int, float]] = {}
    cell = iter(reader.cell_ids)
    for rows in reader.rows():
        for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            of_cell = values.setdefault(next(cell), {})
            for column, value in zip(rows.indices[start:stop], rows.data[start:stop], strict=True):
                gene = column_gene[column]
                if gene >= 0:
                    token = int(genes.token[gene])
                    of_cell[token] = of_cell.get(token, 0.0) + float(value) / genes.median[gene]
    return values


def read(source, **options) -> CellReader:
    """Open a file or object with cells of the small vocabulary."""
    return CellReader(source, vocabulary(), V2, CellOptions(**options))


def tokens(reader: CellReader, **chunks) -> list[list[int]]:
    """Gene tokens of all its cells."""
    return [row.tolist() for chunk in reader.chunks(**chunks) for row in chunk.tokens]
