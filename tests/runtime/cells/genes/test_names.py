"""Names as other tools have wrapped them, and what must not be unwrapped."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cell_libraries import sp
from make_cells import GENES, IDS, SYMBOLS, adata, counts, named, read, tokens, vocabulary

from c2t.runtime.cells.genes.names import excel_dates, read_names
from c2t.runtime.cells.genes.species import SPECIES

HUMAN = SPECIES[0]
BY_ID = tokens(read(adata()))
PAIRS = list(zip(IDS, SYMBOLS, strict=True))


def genes_of(names, genes=None):
    return read_names(names, genes or vocabulary(), HUMAN).gene.tolist()


@pytest.mark.parametrize(
    "names",
    [
        [f"GRCh38_{name}" for name in SYMBOLS],
        [f"GRCh38-{name}" for name in SYMBOLS],
        [f"GRCh38.{name}" for name in SYMBOLS],
        [f"GRCh38______{name}" for name in IDS],
        [f"hg19_{name}" for name in SYMBOLS],
        [f"{symbol}_{name}" for name, symbol in PAIRS],
        [f"{symbol}-{name}.3" for name, symbol in PAIRS],
        [f"{name}|{symbol}" for name, symbol in PAIRS],
        [f"{symbol}|{name}" for name, symbol in PAIRS],
        [f"{name}.{symbol}" for name, symbol in PAIRS],
        [f"{symbol}|NM_{i:06d}.2|PolyA_1" for i, symbol in enumerate(SYMBOLS)],
        [f"{symbol}.NM_{i:06d}.Reference_end" for i, symbol in enumerate(SYMBOLS)],
        [f"rna_{name}" for name in SYMBOLS],
        [f"rna-{name}" for name in SYMBOLS],
        [f"gene:{name}" for name in IDS],
        [f"Human_{name}" for name in SYMBOLS],
        [f"{name}_RNA" for name in SYMBOLS],
        [f"rna_GRCh38_{name}" for name in SYMBOLS],
        [f"{symbol}|ENST{i:011d}|Reference_end" for i, symbol in enumerate(SYMBOLS)],
        [f"{symbol}_NM_{i:06d}_PolyA_1" for i, symbol in enumerate(SYMBOLS)],
        [f"{name} (human)" for name in SYMBOLS],
        [f'"{name}"' for name in SYMBOLS],
    ],
    ids=lambda names: names[0],
)
def test_wrapped_names_give_the_tokens_of_plain_ones(names):
    reader = read(named(names))
    assert tokens(reader) == BY_ID
    assert "; names read " in reader.gene_report.sentence
    assert reader.warnings == ()


def test_unique_suffix_means_the_stem_only_if_the_stem_is_a_column_too():
    names = ["GENE3", "GENE3-1", "GENE3-2", "GENE3.1", "GENE4-1", "GENE4.1", "NONE", "NONE-1"]
    assert genes_of(names) == [2, 2, 2, 2, -1, -1, -1, -1]


def test_name_with_a_suffix_that_is_known_keeps_its_own_gene():
    genes = dataclasses.replace(
        vocabulary(3),
        alias=np.array([b"HLA", b"HLA-1", b"AL627309.1"]),
        alias_gene=np.array([0, 1, 2], np.int32),
    )
    names = ["HLA", "HLA-1", "HLA.1", "AL627309.1", "AL627309.2"]
    assert genes_of(names, genes) == [0, 1, 0, 2, -1]


def test_names_that_r_made():
    genes = dataclasses.replace(
        vocabulary(3),
        alias=np.array([b"HLA-A", b"MT-CO1", b"RP11-2.1"]),
        alias_gene=np.array([0, 1, 2], np.int32),
    )
    names = ["HLA.A", "MT.CO1", "RP11.2.1", "HLA.A.1", "HLA.B", "HLA_A", "RP11-2-1"]
    assert genes_of(names, genes) == [0, 1, 2, 0, -1, 0, -1]


def test_two_ids_or_two_symbols_in_a_name_mean_neither():
    names = [f"{IDS[0]}-{IDS[1]}", "GENE1|GENE2", "GENE1|GENE1", f"{IDS[3]}_PAR_Y", "GENE5;GENE6"]
    assert genes_of(names) == [-1, -1, 0, -1, -1]


def test_an_id_that_is_not_known_is_not_replaced_by_the_symbol_beside_it():
    assert genes_of(["ENSG99999999999|GENE1", "GENE2_ENSG99999999999"]) == [-1, -1]


def test_prefix_that_few_names_have_is_kept():
    # MT-TF is the transfer RNA of phenylalanine, TF is transferrin
    genes = dataclasses.replace(
        vocabulary(2), alias=np.array([b"TF", b"MT-CO1"]), alias_gene=np.array([0, 1], np.int32)
    )
    names = ["MT-TF", "MT-CO1", *[f"OTHER{i}" for i in range(8)]]
    assert genes_of(names, genes)[:2] == [-1, 1]


def test_genes_of_another_genome_are_set_aside():
    x = sp.hstack([sp.csr_matrix(counts()), sp.csr_matrix(np.ones((40, 20), np.float32))]).tocsr()
    names = [f"GRCh38_{name}" for name in SYMBOLS] + [f"mm10___Gene{i}" for i in range(20)]
    reader = read(named(names, x))
    assert tokens(reader) == BY_ID
    assert "20 columns dropped that are genes of mouse" in reader.gene_report.sentence
    assert reader.gene_report.coverage == 1


def test_splicing_states_are_summed_and_said():
    x = counts()
    spliced, unspliced = np.floor(x / 4), np.floor(x / 2)
    parts = np.hstack([spliced, unspliced, x - spliced - unspliced])
    for names in (IDS, SYMBOLS):
        wide = [*names, *[f"{n}-U" for n in names], *[f"{n}-A" for n in names]]
        reader = read(named(wide, sp.csr_matrix(parts)))
        assert tokens(reader) == BY_ID
        assert "unspliced (`-U`) and ambiguous (`-A`)" in reader.gene_report.sentence
        assert reader.gene_report.summed == 2 * GENES


def test_dates_are_said():
    names = ["1-Mar", "Sep-07", "2001-12-01", "DEC1", "MARCH1", "AL627309.1", "12-Sep", "1/3/2001"]
    assert excel_dates(names) == [0, 1, 2, 6, 7]
    (warning,) = read(named(["1-Mar", "7-Sep", *SYMBOLS[2:]])).warnings
    assert warning.startswith("2 gene names are dates such as `1-Mar`: Excel made them of MARCH1")
    assert "the bundle does not know 2 of them" in warning
