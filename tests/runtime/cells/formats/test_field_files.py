"""Files of cells after public bug reports: read as the clean file is, or refused by name."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import anndata
import numpy as np
import pytest
from make_cells import V2
from shared_cases import cell_case
from shared_data import shared

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.output.obs import check_obs, write_obs
from c2t.runtime.output.record import Record
from c2t.runtime.system.errors import CellFileError


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = shared("cells/pbmc3k_labelled_raw.h5ad")
    return cell_case("_clean40", tmp_path_factory.mktemp("cells") / "clean40.h5ad", source)


@pytest.fixture(scope="module")
def genes(clean: Path) -> GeneVocabulary:
    """The genes of the clean file, by their ids and symbols."""
    var = anndata.read_h5ad(clean).var.drop_duplicates("ensembl_id")
    rng = np.random.default_rng(0)
    return GeneVocabulary(
        ensembl_id=var["ensembl_id"].to_numpy().astype("S"),
        token=(rng.permutation(len(var)) + 4).astype(np.int32),
        median=rng.uniform(0.5, 4, len(var)),
        alias=var.index.to_numpy().astype("S"),
        alias_gene=np.arange(len(var), dtype=np.int32),
    )


def read(path: Path, genes: GeneVocabulary, **options: object) -> CellReader:
    options = {"gene_column": "ensembl_id"} | options
    return CellReader(path, genes, V2, CellOptions(**options))


def tokens(path: Path, genes: GeneVocabulary, **options: object) -> list[list[int]]:
    with read(path, genes, **options) as reader:
        return [row.tolist() for chunk in reader.chunks() for row in chunk.tokens]


# What gives the same gene tokens as the clean file, and which cells of it are there.
READ_ALIKE = {
    "nullable_index": slice(None),
    "nullable_strings": slice(None),
    "r_array_encoding_only": slice(None),
    "r_array_attrs": slice(None),
    "lzf_filter": slice(None),
    "big_endian": slice(None),
    "soft_link": slice(None),
    "null_raw_group": slice(None),
    "null_x": slice(None),
    "uns_breaks_reading": slice(None),
    "obs_int_index": slice(None),
    "obs_bool_latin1": slice(None),
    "obs_dup_odd_names": slice(None),
    "jhdf5_types": slice(None),
    "filter_pass_true_lower": [cell for cell in range(40) if cell % 4],
}


@pytest.mark.parametrize("case", READ_ALIKE)
def test_file_is_read_as_the_clean_one(
    case: str, clean: Path, genes: GeneVocabulary, tmp_path: Path
) -> None:
    path = cell_case(case, tmp_path / "cells.h5ad", clean)
    expected = np.array(tokens(clean, genes), dtype=object)
    # Every one of the 40 has its own tokens, so that equal means the same cell.
    assert len({tuple(row) for row in expected}) == 40
    assert tokens(path, genes) == expected[READ_ALIKE[case]].tolist()


@pytest.mark.parametrize("case", ["gz_file", "h5mu_file", "loom_file", "tenx_h5"])
def test_other_formats_under_the_name_of_this(
    case: str, clean: Path, genes: GeneVocabulary, tmp_path: Path
) -> None:
    path = cell_case(case, tmp_path / "cells.h5ad", clean)
    by_symbols = tokens(clean, genes, gene_column="var_names")
    by_ids = tokens(clean, genes)
    assert tokens(path, genes, gene_column=None) in (by_ids, by_symbols)


def test_tables_of_the_first_version(clean: Path, genes: GeneVocabulary, tmp_path: Path) -> None:
    path = cell_case("legacy_compound", tmp_path / "cells.h5ad", clean)
    assert tokens(path, genes, gene_column=None) == tokens(clean, genes)


# What the error says, and what its hint says.
REFUSED = {
    "zip_zarr": (r"has no /obs: no AnnData in this zarr store", r"`write_zarr`"),
    "rds_file": (r"is an R object \(\.rds\)", r"writeH5AD"),
    "lfs_pointer": (r"is a Git LFS pointer", r"`git lfs pull`"),
    "html_page": (r"is a web page", r"log in"),
    "csv_text": (r"which way cells\.h5ad lies is not clear", r"`--part cells-x-genes`"),
    "zero_bytes": (r"is empty \(0 bytes\)", r"fetch it again"),
    "mtx_only_obs": (r"has no /var: not an \.h5ad file; it holds X", r"write_h5ad"),
    "truncated": (r"is cut off after [\d,]+ of [\d,]+ bytes", r"download or copy it again"),
    "not_closed": (r"was never closed by the program that wrote it", r"h5clear -s "),
    "external_link": (r"^/X is a link to another file: ", r"copy the data into the file"),
    "virtual_dataset": (r"^/X is stored outside the file", r"copy the data into the file"),
    "indptr_overflow": (r"^/X/indptr runs from 0 to -", r"write it again"),
    "zero_cells": (r"has no cells", r"left out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_file_is_refused_by_what_it_is(
    case: str, clean: Path, genes: GeneVocabulary, tmp_path: Path
) -> None:
    path = cell_case(case, tmp_path / "cells.h5ad", clean)
    with pytest.raises(CellFileError) as caught:
        read(path, genes)
    problem, hint = REFUSED[case]
    assert re.search(problem, caught.value.problem)
    assert re.search(hint, caught.value.hint)
    assert "\n" not in caught.value.problem + caught.value.hint


def test_filter_that_is_missing(clean: Path, genes: GeneVocabulary, tmp_path: Path) -> None:
    path = cell_case("zstd_filter", tmp_path / "cells.h5ad", clean)
    if find_spec("hdf5plugin") is not None:
        assert tokens(path, genes) == tokens(clean, genes)
        return
    with pytest.raises(CellFileError, match=r"/X/data is packed by HDF5 filter 32015 \(Zstand"):
        read(path, genes)


@pytest.mark.parametrize("case", ["nullable_index", "nullable_strings", "null_x"])
def test_descriptions_are_added_to(case: str, clean: Path, tmp_path: Path) -> None:
    path = cell_case(case, tmp_path / "cells.h5ad", clean)
    check_obs(path)
    copy = tmp_path / "copy.h5ad"
    copy.touch()
    record = Record(
        row=2,
        cell="c",
        text="a T cell",
        confidence=0.5,
        cell_type_confidence=None,
        genes_used=7,
        error=None,
    )
    write_obs(path, copy, [record], {"bundle": "tiny"})
    obs, before = anndata.read_h5ad(copy).obs, anndata.read_h5ad(path).obs
    assert obs["c2t_description"].tolist() == ["", "", "a T cell"] + [""] * 37
    assert obs.index.tolist() == before.index.tolist()
    assert obs["cell_type"].tolist() == before["cell_type"].tolist()
