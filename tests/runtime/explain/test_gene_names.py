"""Ids always, symbols where the file or the bundle knows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_process import random_cells

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.explain.gene_names import GeneNames

ANY = CellOptions(min_coverage=0)


@pytest.fixture
def bundle(tiny_bundle_folder: Path) -> Bundle:
    return open_bundle(tiny_bundle_folder)


def vocabulary(alias: list[str], alias_gene: list[int]) -> GeneVocabulary:
    return GeneVocabulary(
        ensembl_id=np.array([b"ENSG00000000001", b"ENSG00000000002", b"ENSG00000000003"]),
        token=np.array([4, 5, 6], np.int32),
        median=np.ones(3),
        alias=np.array([name.encode() for name in alias]),
        alias_gene=np.array(alias_gene, np.int32),
    )


def test_a_single_symbol_of_the_bundle() -> None:
    alias = ["CD3E", "ENSG90000000001", "MS4A1", "CD20"]
    names = GeneNames(vocabulary(alias, [0, 0, 1, 1]))
    assert names.name(4) == ("ENSG00000000001", "CD3E")
    assert names.name(5) == ("ENSG00000000002", None)  # which of the two is not known
    assert names.name(6) == ("ENSG00000000003", None)
    assert names.is_gene(4)
    assert not names.is_gene(3)


@pytest.mark.parametrize("column", ["gene_symbol", "Symbol", "feature_name", "gene_name"])
def test_the_files_symbols_come_first(bundle: Bundle, column: str) -> None:
    cells = random_cells(4)
    cells.var[column] = [f"Gene-{n}x" for n in range(60)]
    with open_cells(cells, bundle, ANY) as reader:
        names = GeneNames(bundle.genes, reader)
    gene_id, symbol = names.name(int(bundle.genes.token[0]))
    place = cells.var_names.tolist().index(gene_id)
    assert symbol == f"Gene-{place}x"


def test_a_file_of_ids_says_no_symbol(bundle: Bundle) -> None:
    with open_cells(random_cells(4), bundle, ANY) as reader:
        names = GeneNames(bundle.genes, reader)
    gene_id, symbol = names.name(int(bundle.genes.token[0]))
    assert gene_id.startswith("ENSG")
    assert symbol is None or not symbol.startswith("ENS")
