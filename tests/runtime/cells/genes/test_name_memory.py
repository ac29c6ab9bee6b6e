"""What is remembered of names, and how much of it."""

from __future__ import annotations

import pytest
from make_cells import IDS, SYMBOLS, vocabulary

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN
from c2t.runtime.cells.genes.name_memory import NAME_LENGTH_MAX, NO_GENE, NameMemory


def codes(memory, names):
    found = memory.look_up(names)
    return None if found is None else found.tolist()


def test_plain_names_mean_what_they_mean_alone():
    memory = NameMemory(vocabulary())
    names = ["GENE1", IDS[1], "ENSG00000000003.7", "GENE4", "AC000001.1", "ADT_CD3", "gobbledygook"]
    for _ in range(2):  # looked up, then remembered
        assert codes(memory, names) == [0, 1, 2, 3, UNKNOWN, NO_GENE, UNKNOWN]
    assert codes(memory, ["GENE1"]) == [0]


@pytest.mark.parametrize(
    "name",
    [
        *("", "NA", " GENE1", '"GENE1"', '"FOO"', "GENE1-U", "FOO-A", "1-Mar"),
        *("GRCh38_GENE1", "GRCh38_FOO", "mm10_Gene1", "ENSMUSG00000000001", "GENE1|GENE1"),
        *("GENE1_NM_000733.3", f"{IDS[0]}_x", "FOO_ENSG00000000001"),
    ],
)
def test_other_names_are_left_to_the_definition(name):
    memory = NameMemory(vocabulary())
    others = SYMBOLS[10:20]
    assert codes(memory, [*others, name]) is None
    assert codes(memory, others) == list(range(10, 20))


def test_number_after_a_name_counts_only_beside_it():
    memory = NameMemory(vocabulary())
    assert codes(memory, ["GENE1", "GENE2", "GENE3-1"]) == [0, 1, UNKNOWN]
    assert codes(memory, ["GENE1", "GENE2", "GENE2-1"]) is None
    assert codes(memory, ["GENE1", "GENE2", "GENE2.1"]) is None


@pytest.mark.parametrize("odd", ["rna_X{}", "X{}_gex"])
def test_what_most_unknown_names_share_is_left_to_the_definition(odd):
    memory = NameMemory(vocabulary())
    several = [odd.format(letter) for letter in "abcdefghijkl"]
    assert codes(memory, ["GENE1", *several]) is None
    assert codes(memory, [*SYMBOLS[:13], *several]) == [*range(13), *[UNKNOWN] * 12]
    assert codes(memory, ["GENE1", *several[:9]]) == [0, *[UNKNOWN] * 9]
    assert codes(memory, ["GENE1", *several[:9], *"MNOPQRSTUV"]) == [0, *[UNKNOWN] * 19]


def test_names_written_as_of_another_species_are_fine_while_they_are_few():
    memory = NameMemory(vocabulary())
    assert codes(memory, ["GENE1", "Gene2"]) == [0, 1]
    assert codes(memory, ["GENE1", "Gene2", "gene3"]) is None
    assert codes(memory, ["GENE1", "GENE5", "Gene2", "gene3", "FOO"]) == [0, 4, 1, 2, UNKNOWN]
    assert codes(memory, [*IDS[5:20], "Gene2"]) is None  # the only symbol


def test_odd_names_cannot_fill_the_memory():
    memory = NameMemory(vocabulary(), most=200)
    panel = SYMBOLS[:40]
    memory.look_up(panel)
    for n in range(200):
        odd = [f"HOSTILE{n}X{k}" for k in range(20)]
        memory.look_up([*panel, *odd])
        memory.look_up([*panel, f"LONG{n}" + "X" * NAME_LENGTH_MAX])
        assert len(memory) <= 200
    assert all(name in memory._young or name in memory._old for name in panel)
    assert not any(name.startswith("LONG") for name in (*memory._young, *memory._old))
    assert codes(memory, [f"N{n}" for n in range(101)]) is None
    assert len(memory) <= 200
