"""10x, MuData and Loom: what of a file is taken, what is asked, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata, sp
from make_cells import CELLS, GENES, adata, counts, named, read, tokens
from make_formats import write_loom, write_mudata, write_tenx, write_tenx_2

from c2t.runtime.system.errors import CellFileError

pytestmark = needs_anndata


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CellFileError) as caught:
        read(path, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.problem + caught.value.hint
    return f"{caught.value.problem} | {caught.value.hint}"


def with_antibodies() -> anndata.AnnData:
    """The cells with ten antibodies, which are called as genes are."""
    x = np.hstack([counts(), np.full((CELLS, 10), 500, dtype=np.float32)])
    both = anndata.AnnData(X=sp.csr_matrix(x), obs=adata().obs)
    both.var_names = [*adata().var_names, *adata().var_names[:10]]
    return both


def test_only_genes_of_tenx_are_taken(tmp_path: Path) -> None:
    kinds = ["Gene Expression"] * GENES + ["Antibody Capture"] * 10
    names = [f"GENE{n}" for n in range(1, GENES + 11)]
    path = write_tenx(tmp_path / "cells.h5", with_antibodies(), feature_type=kinds, name=names)
    reader = read(path)
    assert tokens(reader) == tokens(read(adata()))
    assert reader.gene_report.dropped == 10
    assert "`Antibody Capture`" in reader.gene_report.sentence


def test_genes_of_another_genome_are_dropped(tmp_path: Path) -> None:
    mouse = [f"ENSMUSG{n:011d}" for n in range(10)]
    path = write_tenx(
        tmp_path / "cells.h5",
        with_antibodies(),
        id=[*adata().var_names, *mouse],
        name=[f"G{n}" for n in range(GENES + 10)],
        genome=["GRCh38"] * GENES + ["mm10"] * 10,
    )
    reader = read(path)
    assert reader.gene_report.dropped == 10


def test_one_of_several_genomes_is_asked_for(tmp_path: Path) -> None:
    path = write_tenx_2(tmp_path / "cells.h5", adata(), ("GRCh38", "mm10"))
    said = refusal(path)
    assert "cells.h5 has the cells of 2 genomes: GRCh38, mm10" in said
    assert "`--part GRCh38`" in said
    assert tokens(read(path, part="GRCh38")) == tokens(read(adata()))
    assert "there is no part `hg19`" in refusal(path, part="hg19")


@pytest.mark.parametrize("name", ["raw_feature_bc_matrix.h5", "s1_raw_gene_bc_matrices_h5.h5"])
def test_raw_files_are_said(name: str, tmp_path: Path) -> None:
    (warning,) = read(write_tenx(tmp_path / name, adata())).store.warnings
    assert name in warning
    assert "empty droplets" in warning


def test_empty_barcodes_are_said_whatever_the_name(tmp_path: Path) -> None:
    x = counts()
    x[::3] = 0
    path = write_tenx(tmp_path / "cells.h5", adata(sp.csr_matrix(x)))
    (warning,) = read(path).store.warnings
    assert "(14 of 40 barcodes have no counts)" in warning


def drop(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def put(name: str, values: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return change


def outside(file: h5py.File) -> None:
    del file["matrix/data"]
    file["matrix/data"] = h5py.ExternalLink("other.h5", "/data")


DAMAGE = {
    "no data": (drop("matrix/data"), "/matrix/data is missing"),
    "no names": (drop("matrix/features/name"), "/matrix/features/name is missing"),
    "no shape": (drop("matrix/shape"), "/matrix/shape is missing"),
    "shape": (
        put("matrix/shape", np.array([3, 4])),
        "has 40 values, but the matrix has 4",
    ),
    "three sizes": (put("matrix/shape", np.array([3, 4, 5])), "3 numbers, expected 2"),
    "turned": (put("matrix/shape", np.array([CELLS, GENES])), "but the matrix has 80"),
    "sizes": (put("matrix/shape", np.array([1 << 40, 5])), "features and 5 cells"),
    "half sizes": (put("matrix/shape", np.array([80.5, 40])), "80.5 features"),
    "offsets": (put("matrix/indptr", np.arange(CELLS + 1)), "indptr runs from 0 to 40"),
    "fewer ids": (put("matrix/features/id", np.array([b"x"])), "/matrix/features/id has 1 values"),
    "texts": (put("matrix/data", np.array([b"x"] * 5)), "not numbers"),
    "link": (outside, "is a link to another file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_tenx(kind: str, tmp_path: Path) -> None:
    change, said = DAMAGE[kind]
    path = write_tenx(tmp_path / "cells.h5", adata())
    with h5py.File(path, "r+") as file:
        change(file)
    assert said in refusal(path)


def test_parts_of_mudata(tmp_path: Path) -> None:
    proteins = named([f"prot{n}" for n in range(GENES)])
    path = write_mudata(tmp_path / "cells.h5mu", prot=proteins, rna=adata())
    assert tokens(read(path)) == tokens(read(adata()))
    reader = read(path)
    assert reader.obs_column("lab") == ["here"] * CELLS
    assert "there is no part `atac`" in refusal(path, part="atac")
    assert "0 of 76 match" in refusal(path, part="prot")
    other = write_mudata(tmp_path / "other.h5mu", gex=adata(), prot=proteins)
    assert "2 modalities, none of them `rna`: gex, prot" in refusal(other)
    assert tokens(read(other, part="gex")) == tokens(read(adata()))


def test_columns_of_all_cells_go_by_name(tmp_path: Path) -> None:
    cells = adata()
    path = write_mudata(tmp_path / "cells.h5mu", rna=cells)
    with h5py.File(path, "r+") as file:
        stored = file["obs/_index"][:]
        del file["obs/lab"]
        file["obs"].create_dataset("lab", data=[f"of {n.decode()}" for n in stored])
    assert read(path).obs_column("lab") == [f"of {name}" for name in cells.obs_names]


def test_layers_and_names_of_loom(tmp_path: Path) -> None:
    path = write_loom(tmp_path / "cells.loom", adata(), layers=("spliced",))
    expected = tokens(read(adata()))
    assert tokens(read(path, layer="spliced")) == expected
    with h5py.File(path, "r+") as file:
        file.move("row_attrs/Gene", "row_attrs/other")
        file["attrs/species"] = "Mus musculus"
    assert "Mus musculus" in refusal(path)
    assert tokens(read(path, organism="human")) == expected
    with h5py.File(path, "r+") as file:
        del file["col_attrs/CellID"]
    assert "/col_attrs has no names: none of CellID" in refusal(path)


def test_damaged_loom(tmp_path: Path) -> None:
    path = write_loom(tmp_path / "cells.loom", adata())
    with h5py.File(path, "r+") as file:
        del file["col_attrs/cell_type"]
        file["col_attrs/cell_type"] = np.array([b"a"])
        file["layers/spliced"] = np.zeros((3, 3))
    with pytest.raises(CellFileError, match="1 values for 40 rows"):
        read(path).obs_column("cell_type")
    assert "/layers/spliced has 3 x 3 values" in refusal(path, layer="spliced")


def test_no_part_of_what_has_none(tmp_path: Path) -> None:
    adata().write_h5ad(tmp_path / "cells.h5ad")
    assert "cells.h5ad has no parts" in refusal(tmp_path / "cells.h5ad", part="rna")
    assert "AnnData object has no parts" in refusal(adata(), part="rna")
