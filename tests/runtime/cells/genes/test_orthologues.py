"""Mouse cells through a table of orthologues: what is carried over, and what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import needs_anndata, sp
from make_cells import GENES, IDS, SYMBOLS, adata, counts, named, read, tokens
from make_formats import write_table, write_tenx

from c2t.runtime.cells.genes.orthologues import Orthologues, read_orthologues
from c2t.runtime.cells.genes.species import SPECIES
from c2t.runtime.system.errors import CellFileError

pytestmark = needs_anndata
HUMAN, MOUSE = SPECIES[:2]
MOUSE_IDS = [f"ENSMUSG{n:011d}" for n in range(1, GENES + 1)]
MOUSE_SYMBOLS = [f"Gene{n}a" for n in range(1, GENES + 1)]


def table(path: Path, rows: Iterable[Sequence[str]], separator: str = "\t") -> Path:
    path.write_text("".join(separator.join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def biomart(path: Path, *, separator: str = "\t", of_human: bool = False) -> Path:
    """As BioMart writes it, asked for the genes of one of the two."""
    if of_human:
        head = ("Gene stable ID", "Gene name", "Mouse gene stable ID", "Mouse gene name")
        columns = (IDS, SYMBOLS, MOUSE_IDS, MOUSE_SYMBOLS)
    else:
        head = ("Gene stable ID", "Gene name", "Human gene stable ID", "Human gene name")
        columns = (MOUSE_IDS, MOUSE_SYMBOLS, IDS, SYMBOLS)
    kind = "Mouse homology type" if of_human else "Human homology type"
    rows = [(*head, kind)]
    rows += [(*row, "ortholog_one2one") for row in zip(*columns, strict=True)]
    rows += [("ENSMUSG00000099999", "Alone", "", "", "")]
    return table(path, rows, separator)


def mgi(path: Path) -> Path:
    """As MGI's HOM_MouseHumanSequence.rpt."""
    rows = [("DB Class Key", "Common Organism Name", "NCBI Taxon ID", "Symbol", "EntrezGene ID")]
    for n, (theirs, ours) in enumerate(zip(MOUSE_SYMBOLS, SYMBOLS, strict=True)):
        rows += [(str(n), "mouse, laboratory", "10090", theirs, "1")]
        rows += [(str(n), "human", "9606", ours, "2")]
    return table(path, rows)


def two(path: Path, head: tuple[str, str] | None = ("mouse", "human")) -> Path:
    pairs = list(zip(MOUSE_IDS, IDS, strict=True))
    return table(path, [*([head] if head else []), *pairs])


LAYOUTS = {
    "BioMart": lambda folder: biomart(folder / "a.tsv"),
    "BioMart csv": lambda folder: biomart(folder / "a.csv", separator=","),
    "BioMart of human": lambda folder: biomart(folder / "a.txt", of_human=True),
    "MGI": lambda folder: mgi(folder / "HOM_MouseHumanSequence.rpt"),
    "two columns": lambda folder: two(folder / "a.tsv"),
    "no header": lambda folder: two(folder / "a.tsv", None),
    "biomaRt": lambda folder: table(
        folder / "a.tsv",
        [("MGI.symbol", "HGNC.symbol"), *zip(MOUSE_SYMBOLS, SYMBOLS, strict=True)],
    ),
    "turned": lambda folder: table(
        folder / "a.tsv",
        [("human_gene", "mouse_gene"), *zip(IDS, MOUSE_SYMBOLS, strict=True)],
    ),
}


def mouse_cells(ids: bool) -> object:
    names = [f"{name}.7" for name in MOUSE_IDS] if ids else MOUSE_SYMBOLS
    return named(names)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    path = LAYOUTS[layout](tmp_path)
    found = read_orthologues(path, MOUSE, HUMAN)
    assert found.pairs == GENES
    ids = MOUSE_IDS[3] in found.partner
    symbols = MOUSE_SYMBOLS[3].upper() in found.partner
    assert ids or symbols
    expected = tokens(read(adata()))
    for asked, there in ((True, ids), (False, symbols)):
        if there:
            reader = read(mouse_cells(asked), species="mouse", orthologues=str(path))
            assert tokens(reader) == expected
            (said,) = [w for w in reader.warnings if "orthologues of" in w]
            assert "76 of 76 expressed genes (100%) and 100% of the counts are carried over" in said
            assert "of mouse cells its texts are guesses" in said


def test_only_one_to_one_is_taken(tmp_path: Path) -> None:
    pairs = [*zip(MOUSE_IDS, IDS, strict=True)]
    pairs += [(MOUSE_IDS[0], IDS[1])]  # 0 has two partners, and 1 shares one
    pairs += [("ENSMUSG00000088888", IDS[2])]  # 2 shares its partner
    path = table(tmp_path / "a.tsv", [("mouse", "human"), *pairs])
    found = read_orthologues(path, MOUSE, HUMAN)
    assert found.translate(MOUSE_IDS) == ["", "", "", *IDS[3:]]
    assert (found.pairs, found.several) == (GENES - 3, 4)
    x = counts()
    x[:, :3] = 0
    reader = read(mouse_cells(True), species="mouse", orthologues=str(path))
    assert tokens(reader) == tokens(read(adata(sp.csr_matrix(x))))
    assert "(4 genes with several partners" in "".join(reader.warnings)


def test_homology_type_is_believed(tmp_path: Path) -> None:
    rows = (
        biomart(tmp_path / "a.tsv").read_text().replace("ortholog_one2one", "ortholog_one2many", 1)
    )
    (tmp_path / "b.tsv").write_text(rows)
    found = read_orthologues(tmp_path / "b.tsv", MOUSE, HUMAN)
    assert found.translate([MOUSE_IDS[0], MOUSE_IDS[1]]) == ["", IDS[1]]


def test_symbol_of_two_genes_means_neither(tmp_path: Path) -> None:
    path = biomart(tmp_path / "a.tsv")
    path.write_text(path.read_text().replace(f"\t{MOUSE_SYMBOLS[1]}\t", f"\t{MOUSE_SYMBOLS[0]}\t"))
    found = read_orthologues(path, MOUSE, HUMAN)
    assert found.translate([MOUSE_SYMBOLS[0], MOUSE_IDS[0]]) == ["", IDS[0]]


def test_names_are_unwrapped() -> None:
    found = Orthologues(
        species=MOUSE,
        partner={"CD3E": "ENSG1", MOUSE_IDS[0]: "ENSG2"},
        pairs=2,
        several=0,
        name="x",
    )
    names = [
        "Cd3e",
        "mm10___Cd3e",
        "GRCh38_CD3E",
        f"{MOUSE_IDS[0]}.12",
        f"Cd4_{MOUSE_IDS[0]}",
        "Cd4",
    ]
    assert found.translate(names) == ["ENSG1", "ENSG1", "", "ENSG2", "ENSG2", ""]


def test_human_genes_of_a_mixed_file_are_dropped(tmp_path: Path) -> None:
    x = sp.csr_matrix(np.hstack([counts(), counts()[:, :20] * 0]))
    both = named([*MOUSE_IDS, *IDS[:20]], x)
    path = write_tenx(tmp_path / "cells.h5", both, genome=["mm10"] * GENES + ["GRCh38"] * 20)
    options = {"species": "mouse", "orthologues": str(two(tmp_path / "a.tsv"))}
    reader = read(path, **options)
    assert tokens(reader) == tokens(read(adata()))
    assert "20 columns dropped that are genes of another species" in reader.gene_report.sentence


def test_tables_of_a_mouse_are_turned(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", named(MOUSE_SYMBOLS), genes_are_rows=True)
    options = {"species": "mouse", "orthologues": str(biomart(tmp_path / "a.tsv"))}
    reader = read(path, part="genes-x-cells", **options)
    assert tokens(reader) == tokens(read(adata()))


def refusal(source: object, **options: object) -> str:
    with pytest.raises(CellFileError) as caught:
        read(source, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.problem + caught.value.hint
    return f"{caught.value.problem} | {caught.value.hint}"


def test_refused(tmp_path: Path) -> None:
    path = str(biomart(tmp_path / "a.tsv"))
    cells = mouse_cells(True)
    assert "`var_names` has ENSMUSG… ids, of mouse" in refusal(cells)
    said = refusal(cells, species="mouse")
    assert "only by a table of orthologues" in said
    assert "BioMart" in said
    assert "no species that c2t knows" in refusal(cells, species="martian", orthologues=path)
    assert "not of which species" in refusal(cells, orthologues=path)
    assert "are both given" in refusal(cells, species="mouse", organism="any")
    assert "no such table" in refusal(cells, species="mouse", orthologues=str(tmp_path / "no"))
    assert "no columns of rat genes" in refusal(adata(), species="rat", orthologues=path)
    said = refusal(adata(), species="mouse", orthologues=path)
    assert "--species says mouse, but these cells look like another species" in said
    assert "ENSG… ids, of human" in said
    stated = mouse_cells(True)
    stated.uns["organism"] = "Rattus norvegicus"
    assert "Rattus norvegicus" in refusal(stated, species="mouse", orthologues=path)
    assert tokens(read(adata(), species="human")) == tokens(read(adata()))
    other = [f"ENSMUSG{n:011d}" for n in range(500, 500 + GENES)]
    assert "0 of 76 match" in refusal(named(other), species="mouse", orthologues=path)


BAD = {
    "empty": b"",
    "one line": b"mouse\thuman\n",
    "other": b"a\tb\n1\t2\n",
    "binary": bytes(range(256)) * 20,
    "cut": gzip.compress(b"mouse\thuman\n" * 1000)[:40],
    "long": b"x" * (1 << 23),
    "long field": b"mouse\thuman\n" + b'"' + b"x" * 200_000 + b"\ty\n",
    "wide": b"\t".join([b"mouse"] * 5000) + b"\n",
    "unpaired": b"mouse\thuman\n"
    + b"".join(b"ENSMUSG00000000001\tENSG%011d\n" % n for n in (1, 2)),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tables(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(BAD[kind])
    with pytest.raises(CellFileError) as caught:
        read_orthologues(path, MOUSE, HUMAN)
    assert caught.value.hint
