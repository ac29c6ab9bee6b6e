"""Every format gives the same gene tokens, names and warnings-free cells as the `.h5ad` of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata, sp
from make_cells import V2, adata, tokens, vocabulary
from make_formats import FORMATS, ids_of
from shared_data import shared

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader

pytestmark = needs_anndata
# Warnings that say how a file was read; others would be news.
EXPECTED = ("is read as a table", "was unpacked to")


def whole_vocabulary(ids: list[str]) -> GeneVocabulary:
    """A vocabulary of all these genes."""
    known = sorted(set(ids))
    rng = np.random.default_rng(3)
    return GeneVocabulary(
        ensembl_id=np.array(known, dtype="S"),
        token=(rng.permutation(len(known)) + 4).astype(np.int32),
        median=rng.uniform(0.5, 4, len(known)),
        alias=np.zeros(0, dtype="S1"),
        alias_gene=np.zeros(0, dtype=np.int32),
    )


@contextmanager
def opened(path: Path, genes: GeneVocabulary) -> Iterator[CellReader]:
    with CellReader(path, genes, V2, CellOptions()) as reader:
        yield reader


def skip_without(name: str) -> None:
    if "zarr" in name and find_spec("zarr") is None:
        pytest.skip("zarr is not installed, which writes the store")


@pytest.mark.parametrize("name", FORMATS)
def test_same_as_h5ad(name: str, tmp_path: Path) -> None:
    skip_without(name)
    cells = adata()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    path = FORMATS[name](tmp_path, cells)
    with opened(tmp_path / "cells.h5ad", vocabulary()) as one, opened(path, vocabulary()) as other:
        assert tokens(other) == tokens(one)
        assert tokens(other, chunk_cells=7) == tokens(one)
        assert other.cell_ids == one.cell_ids
        assert other.counts_report.kind == "counts"
        said = [w for w in other.warnings if not any(word in w for word in EXPECTED)]
        assert said == list(one.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "source", ["pbmc3k_labelled_raw", "pbmc_1k_v2_raw_unlabelled", "sc_celseq2_raw"]
)
def test_real_cells(name: str, source: str, tmp_path: Path) -> None:
    skip_without(name)
    cells = anndata.read_h5ad(shared(f"cells/{source}.h5ad"))
    cells = anndata.AnnData(
        X=sp.csr_matrix(cells.X), obs=cells.obs, var=cells.var[[]].assign(ensembl_id=ids_of(cells))
    )
    cells = cells[:, [name.startswith("ENSG") for name in cells.var["ensembl_id"]]].copy()
    cells.obs_names_make_unique()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    path = FORMATS[name](tmp_path, cells)
    genes = whole_vocabulary(cells.var["ensembl_id"].tolist())
    with opened(tmp_path / "cells.h5ad", genes) as one, opened(path, genes) as other:
        assert tokens(other) == tokens(one)
        assert other.cell_ids == one.cell_ids


@pytest.mark.parametrize("name", ["MuData", "Loom", "Parse", "zarr 2", "zarr 3", "h5ad.gz"])
def test_columns_of_cells(name: str, tmp_path: Path) -> None:
    skip_without(name)
    with opened(FORMATS[name](tmp_path, adata()), vocabulary()) as reader:
        assert reader.obs_column("cell_type")[:3] == ["B cell", "T cell", "B cell"]
        assert "cell_type" in reader.obs_columns
