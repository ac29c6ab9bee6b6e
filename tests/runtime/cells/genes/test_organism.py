"""Cells of another species: refused, unless the user says that they are meant."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cell_libraries import pd, sp
from make_cells import (
    GENES,
    IDS,
    SYMBOLS,
    V2,
    adata,
    counts,
    named,
    read,
    tokens,
    vocabulary,
    write,
)

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError

BY_ID = tokens(read(adata()))
MOUSE_IDS = [f"ENSMUSG{i:011d}" for i in range(GENES)]
HINT = (
    "use a bundle of that species, or carry its genes over, such as with `--species mouse "
    "--orthologues FILE` (see `c2t help formats`); if all are human, pass `--organism human`, to "
    "describe them all the same `--organism any`"
)


def stated(place, **entries):
    cells = adata()
    for name, value in entries.items():
        if place == "uns":
            cells.uns[name] = value
        else:
            cells.obs[name] = value
    return cells


@pytest.mark.parametrize(
    ("cells", "seen"),
    [
        (stated("uns", organism="Mus musculus"), r"uns\['organism'\] is `Mus musculus`"),
        (stated("uns", organism_ontology_term_id="NCBITaxon:9544"), "is `NCBITaxon:9544`"),
        (stated("uns", organism=np.array(["Danio rerio"], object)), "is `Danio rerio`"),
        (stated("obs", organism=pd.Categorical(["Macaca mulatta"] * 40)), "is `Macaca mulatta`"),
        (stated("obs", organism_ontology_term_id="NCBITaxon:12345"), "is `NCBITaxon:12345`"),
        (stated("obs", species="mouse"), r"obs\['species'\] is `mouse`"),
        (stated("obs", organism=["mouse", "Rattus norvegicus"] * 20), "mouse.*Rattus"),
        (named(MOUSE_IDS), "`var_names` has ENSMUSG… ids, of mouse"),
        (named(MOUSE_IDS, feature_name=SYMBOLS), "`var_names` has ENSMUSG… ids, of mouse"),
        (named([f"{n}.3" for n in MOUSE_IDS], gene_symbol=SYMBOLS), "ENSMUSG… ids"),
        (named(SYMBOLS, gene_ids=MOUSE_IDS), "`gene_ids` has ENSMUSG… ids"),
        (named([*SYMBOLS[:70], *MOUSE_IDS[:10]]), "`var_names` has ENSMUSG… ids"),
        (named(MOUSE_IDS, human_gene_id=IDS), "`var_names` has ENSMUSG… ids"),
        (named([f"ENSXYZG{i:011d}" for i in range(GENES)]), "the species of `ENSXYZG…`"),
        (named([name.title() for name in SYMBOLS]), "those of a mouse or rat .`Gene1`"),
        (named([name.lower() for name in SYMBOLS]), "those of a fish .`gene1`"),
        (named([f"mm10___{name}" for name in SYMBOLS]), "genome in the names .* is `mouse`"),
        (named(SYMBOLS, genome=["GRCm39"] * GENES), r"var\['genome'\] is `GRCm39`"),
        (named(SYMBOLS, feature_reference=["NCBITaxon:9544"] * GENES), "is `NCBITaxon:9544`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_species_is_refused(cells, seen):
    with pytest.raises(CellFileError, match=f"look like another species: .*{seen}") as caught:
        read(cells)
    assert caught.value.hint == HINT


def test_user_may_describe_them_all_the_same():
    cells = stated("uns", organism="Mus musculus")
    for organism in ("any", "human", "Homo sapiens", "NCBITaxon:9606"):
        reader = read(cells, organism=organism)
        assert tokens(reader) == BY_ID
        assert reader.warnings == (
            "uns['organism'] is `Mus musculus`: taken as human all the same",
        )
    with pytest.raises(CellFileError, match="--organism mouse: the bundle describes human cells"):
        read(cells, organism="mouse")
    with pytest.raises(CellFileError, match="--organism 'humam' is no species that c2t knows"):
        read(cells, organism="humam")


@pytest.mark.parametrize(
    "cells",
    [
        stated("uns", organism="Homo sapiens"),
        stated("uns", organism_ontology_term_id="NCBITaxon:9606", species="Human"),
        stated("obs", organism="homo_sapiens"),
        stated("obs", organism="unknown"),
        stated("obs", organism=np.nan),
        stated("uns", organism={"name": "Mus musculus"}),
        stated("obs", organism_tissue_ontology_term_id="UBERON:0000002"),
        named(SYMBOLS, genome=["GRCh38"] * GENES),
        named(IDS, feature_reference=["NCBITaxon:9606"] * 79 + ["NCBITaxon:2697049"]),
        named(IDS, mouse_ortholog_gene=MOUSE_IDS),
    ],
)
def test_human_cells_are_taken(cells):
    reader = read(cells)
    assert tokens(reader) == BY_ID
    assert reader.warnings == ()


def test_what_is_not_known_or_names_two_is_warned_about():
    (warning,) = read(stated("uns", organism="xyz 7")).warnings
    assert warning == "uns['organism'] is `xyz 7`, which c2t does not know: taken as human"
    (warning,) = read(stated("uns", organism="human and mouse")).warnings
    assert warning == "uns['organism'] is `human and mouse`: taken as human"


def test_symbols_like_those_of_a_mouse_in_cells_that_are_said_to_be_human():
    cells = named([name.title() for name in SYMBOLS])
    cells.uns["organism"] = "Homo sapiens"
    reader = read(cells)
    assert tokens(reader) == BY_ID
    (warning,) = reader.warnings
    assert warning.endswith("are written as those of a mouse or rat (`Gene1`): taken as human")


def test_some_cells_of_another_species_get_an_error():
    cells = stated("obs", organism=["Homo sapiens"] * 30 + ["Mus musculus"] * 10)
    reader = read(cells)
    (warning,) = reader.warnings
    assert warning == (
        "obs['organism'] is `Mus musculus` for 10 cells: these get an error, since the bundle "
        "describes human cells"
    )
    chunks = list(reader.chunks(chunk_cells=16))
    errors = [error for chunk in chunks for error in chunk.errors]
    assert errors[:30] == [None] * 30
    assert set(errors[30:]) == {"cell is of another species: obs['organism'] is `Mus musculus`"}
    assert tokens(reader)[:30] == BY_ID[:30]
    assert tokens(reader)[30:] == [[]] * 10
    assert tokens(read(cells, limit=30)) == BY_ID[:30]
    assert read(cells, limit=30).warnings == ()
    assert tokens(read(cells, organism="any")) == BY_ID


def test_mouse_cells_of_a_mixture_get_an_error():
    x = counts()
    human, mouse = x.copy(), x.copy()
    human[30:], mouse[:30] = 0, 0
    human[30:, 0], mouse[30:, 0] = 1, 5
    wide = sp.csr_matrix(np.hstack([human, mouse]))
    names = [f"GRCh38_{name}" for name in SYMBOLS] + [f"mm10___{name.title()}" for name in SYMBOLS]
    reader = read(named(names, wide))
    (warning,) = reader.warnings
    assert warning == (
        "10 of 40 cells looked at have most of their counts in genes of another species: such "
        "cells get an error"
    )
    errors = [error for chunk in reader.chunks() for error in chunk.errors]
    assert errors[:30] == [None] * 30
    assert set(errors[30:]) == {"cell has most of its counts in genes of another species"}
    genome = ["GRCh38"] * GENES + ["mm10"] * GENES
    names = [*SYMBOLS, *MOUSE_IDS]
    assert tokens(read(named(names, wide, genome=genome))) == tokens(reader)


def test_files_say_it_as_objects_do(tmp_path):
    for place in ("uns", "obs"):
        path = write(tmp_path / f"{place}.h5ad", stated(place, organism="Mus musculus"))
        with pytest.raises(CellFileError, match=rf"{place}\['organism'\] is `Mus musculus`"):
            read(path)


def test_bundle_of_another_species_and_of_none():
    mouse = dataclasses.replace(
        vocabulary(), ensembl_id=np.array(MOUSE_IDS, "S"), alias=np.array(SYMBOLS, "S")
    )
    CellReader(named(MOUSE_IDS), mouse, V2, CellOptions())
    with pytest.raises(CellFileError, match=r"describes mouse cells, .*`var_names` has ENSG… ids"):
        CellReader(named(IDS), mouse, V2, CellOptions())
    none = dataclasses.replace(
        vocabulary(), ensembl_id=np.array([f"G{i}" for i in range(GENES)], "S")
    )
    reader = CellReader(
        stated("uns", organism="Mus musculus"), none, V2, CellOptions(gene_column="gene_symbol")
    )
    assert reader.gene_report.coverage == 1
