"""Names of organisms, genomes and ids."""

from __future__ import annotations

import pytest

from c2t.runtime.cells.genes.species import (
    named_species,
    species_of_genome,
    species_of_id,
    strip_genome,
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Homo sapiens", ["human"]),
        ("H. sapiens", ["human"]),
        ("hsapiens", ["human"]),
        ("human (adult)", ["human"]),
        ("9606", ["human"]),
        ("GRCh38", ["human"]),
        ("mus_musculus", ["mouse"]),
        ("NCBITaxon:10090", ["mouse"]),
        ("mouse lemur", ["mouse lemur"]),
        ("Macaca fascicularis", ["crab-eating macaque"]),
        ("cynomolgus macaque", ["rhesus macaque"]),
        ("Ornithorhynchus anatinus", ["Ornithorhynchus anatinus"]),
        ("NCBITaxon:77", ["NCBITaxon:77"]),
        ("human / mouse", ["human", "mouse"]),
        ("", []),
        ("unknown", []),
        ("NCBITaxon:2697049", []),
        ("donor 7", None),
        ("sample", None),
    ],
)
def test_species_of_a_text(text, names):
    species = named_species(text)
    assert names == (None if species is None else [one.name for one in species])


def test_species_of_genomes_and_ids():
    genomes = ("GRCh38", "hg19", "mm10", "GRCm39", "mRatBN7.2", "GRCz11", "custom")
    names = [getattr(species_of_genome(name), "name", None) for name in genomes]
    assert names == ["human", "human", "mouse", "mouse", "rat", "zebrafish", None]
    ids = ("ENSG00000000003", "ENSMUSG00000051951.6", "ensdarg00000000001", "FBgn0000003", "ACTB")
    names = [getattr(species_of_id(name), "name", None) for name in ids]
    assert names == ["human", "mouse", "zebrafish", "fly", None]


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("GRCh38_CD3E", "CD3E"),
        ("GRCh38______ENSG00000000003", "ENSG00000000003"),
        ("hg38-HLA-A", "HLA-A"),
        ("GRCh38-2020-A_CD3E", "CD3E"),
        ("premrna_GRCh38_CD3E", "CD3E"),
        ("mm10___Cd3e", "Cd3e"),
        ("GRCh38_", None),
        ("MM10", None),
        ("HG3", None),
        ("CD3E", None),
    ],
)
def test_genome_in_front_of_a_name(name, inner):
    stripped = strip_genome(name)
    assert inner == (None if stripped is None else stripped[1])
