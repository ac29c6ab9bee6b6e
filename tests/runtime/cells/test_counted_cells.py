"""Cells as maps from gene to count are read as a file of the same cells is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata, pd, sp
from count_maps import by_definition, by_maps, counted_reader, maps_of
from make_cells import (
    IDS,
    SYMBOLS,
    adata,
    counts,
    cp10k,
    named,
    tpm,
    vocabulary,
    z_scores,
)
from shared_data import shared

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells import counted_cells
from c2t.runtime.cells import reader as cell_reader
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.system.errors import CellFileError

DEMO_GENES = Path(__file__).parents[3] / "examples" / "demo" / "checkpoint" / "genes.npz"
LONG = GeneInput(
    input_size=4096,
    vocabulary_size=20275,
    hidden_size=8,
    layer_norm_epsilon=1e-12,
    pad_token=0,
    cls_token=2,
    eos_token=3,
)
HALF = [
    name if n % 2 else symbol for n, (name, symbol) in enumerate(zip(IDS, SYMBOLS, strict=True))
]
NAMES = {
    "ids": IDS,
    "symbols": SYMBOLS,
    "both": HALF,
    "lower case": [name.lower() for name in SYMBOLS],
    "versions": [f"{name}.{n % 7}" for n, name in enumerate(IDS)],
    "prefix": [f"rna_{name}" for name in SYMBOLS],
    "suffix": [f"{name}_gex" for name in SYMBOLS],
    "genome": [f"GRCh38_{name}" for name in SYMBOLS],
    "two genomes": [f"{'GRCh38' if n % 3 else 'mm10'}_{name}" for n, name in enumerate(SYMBOLS)],
    "quotes": [f'"{name}"' for name in SYMBOLS],
    "id and symbol": [f"{i}|{s}" for i, s in zip(IDS, SYMBOLS, strict=True)],
    "each gene twice": [*IDS[:40], *SYMBOLS[:40]],
    "some unknown": [*SYMBOLS[:60], *(f"AC{n:06d}.1" for n in range(20))],
    "most unknown": [*SYMBOLS[:20], *(f"UNKNOWN{n}" for n in range(60))],
    "antibodies": [*SYMBOLS[:70], *(f"ADT_CD{n}" for n in range(10))],
    "spike-ins": [*SYMBOLS[:60], *(f"ERCC-{n:05d}" for n in range(20))],
    "numbered": [*SYMBOLS[:70], *(f"{name}-1" for name in SYMBOLS[:10])],
    "spliced": [*SYMBOLS[:40], *(f"{name}-U" for name in SYMBOLS[:40])],
    "dates": [*SYMBOLS[:75], "1-Mar", "2-Mar", "1-Sep", "2-Sep", "1-Dec"],
    "nothing known": [f"UNKNOWN{n}" for n in range(80)],
    "other species": [name.replace("ENSG", "ENSMUSG") for name in IDS],
}


@pytest.mark.parametrize("names", NAMES)
def test_all_cells_together_are_read_as_a_file_is(names):
    cells = named(NAMES[names])
    assert by_maps(counted_reader(), maps_of(cells)) == by_definition(cells)


# In a single cell a gene is only named where it was counted: so what depends on other names does.
@pytest.mark.parametrize("names", sorted(set(NAMES) - {"numbered", "dates"}))
def test_every_cell_alone_is_read_as_a_file_of_it_is(names):
    cells, reader = named(NAMES[names]), counted_reader()
    for n in range(cells.n_obs):
        one = cells[n : n + 1]
        assert by_maps(reader, maps_of(one), [f"cell{n}"]) == by_definition(one), n


def values():
    c = counts().astype(np.float64)
    return {
        "counts": c,
        "cp10k": cp10k(c),
        "log1p": np.log1p(cp10k(c)),
        "log2": np.log2(1 + cp10k(c)),
        "tpm": tpm(c),
        "log of tpm": np.log1p(tpm(c)),
        "rounded tpm": np.rint(tpm(c)),
        "square roots": np.sqrt(c),
        "z-scores": z_scores(c),
        "corrected": np.maximum(c - 0.13, 0),
        "nan": np.where((c == 2) & (np.arange(40)[:, None] == 3), np.nan, c),
        "infinite": np.where((c == 2) & (np.arange(40)[:, None] == 3), np.inf, c),
        "negative": np.where((c == 2) & (np.arange(40)[:, None] == 3), -2, c),
        "one kind among another": np.where(np.arange(40)[:, None] == 7, np.log1p(cp10k(c)), c),
    }


@pytest.mark.parametrize("kind", values())
@pytest.mark.parametrize("counts_are", ["auto", "counts", "log1p", "normalized"])
def test_values_are_judged_as_in_a_file(kind, counts_are):
    cells, reader = named(SYMBOLS, values()[kind]), counted_reader()
    together = by_maps(reader, maps_of(cells), values=counts_are)
    assert together == by_definition(cells, values=counts_are)
    if counts_are == "auto":
        for n in range(cells.n_obs):
            one = cells[n : n + 1]
            assert by_maps(reader, maps_of(one), [f"cell{n}"]) == by_definition(one), n


@pytest.mark.parametrize("min_coverage", [0, 0.1, 0.9, 1])
@pytest.mark.parametrize("organism", [None, "human", "any"])
def test_options_mean_what_they_mean_for_files(min_coverage, organism):
    options = {"min_coverage": min_coverage, "organism": organism}
    for names in ("some unknown", "most unknown", "other species", "nothing known", "lower case"):
        cells = named(NAMES[names])
        assert by_maps(counted_reader(), maps_of(cells), **options) == by_definition(
            cells, **options
        )


def test_remembered_names_say_what_the_definition_says():
    rng = np.random.default_rng(3)
    pool = [
        *IDS[:40],
        *SYMBOLS,
        *(f"AC{n:06d}.1" for n in range(30)),
        *("GENE3-1", "GENE5.2", "gene7", "Gene8", "ADT_CD3", "chr1:100200-100300", "NA", "nan", ""),
        *(" GENE9", "GENE10 ", '"GENE11"', "GRCh38_GENE12", "mm10_Gene13", "ENSMUSG00000000001"),
        *(
            "GENE14-U",
            "GENE15-A",
            "ENSG00000000016.4",
            "GENE17|ENSG00000000017",
            "1-Mar",
            "x.GENE1",
        ),
        *("ENSG00000000018_PAR_Y", "CD4", "ERCC-00002", "GENE1_", "NM_000733.3", "é", "\ud800"),
        *("Gene21", "Gene22", "gene23", "gene24", "Gene25"),
    ]
    quick, reader = 0, counted_reader()
    plain = counted_cells._Reader._plain_match

    def counting(*arguments):
        nonlocal quick
        match = plain(*arguments)
        quick += match is not None
        return match

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted_cells._Reader, "_plain_match", counting)
        for _ in range(400):
            low = int(rng.choice([0, 0, 95]))  # of the last, most are unknown
            known = low + rng.choice(150 - low, rng.integers(1, 40), replace=False)
            odd = rng.choice(len(pool), rng.integers(0, 4), replace=False)
            maps = [
                {pool[n]: float(rng.poisson(2)) for n in rng.permutation([*known, *odd])}
                for _ in range(rng.integers(1, 4))
            ]
            if any(count for cell in maps for count in cell.values()):
                assert by_maps(reader, maps) == by_definition(maps), maps
    assert quick > 100


def test_plain_names_are_not_looked_up_again(monkeypatch):
    maps, reader = maps_of(named(NAMES["some unknown"])), counted_reader()
    first = by_maps(reader, maps)

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(cell_reader, "match_genes", fail)
    monkeypatch.setattr(reader._memory, "_meaning", fail)
    assert by_maps(reader, maps) == first
    assert by_maps(reader, [maps[3]]) == by_maps(counted_reader(), [maps[3]])


def test_ids_and_symbols_of_a_gene_are_summed():
    one = by_maps(counted_reader(), [{IDS[0]: 2.0, SYMBOLS[0]: 3.0, SYMBOLS[1]: 1.0, IDS[2]: 9.0}])
    summed = by_maps(counted_reader(), [{IDS[0]: 5.0, IDS[1]: 1.0, IDS[2]: 9.0}])
    assert one == summed
    assert one["used"] == [3]


def test_zero_is_as_good_as_nothing():
    maps = maps_of(adata())
    padded = [{**dict.fromkeys(IDS, 0.0), **cell} for cell in maps]
    assert by_maps(counted_reader(), padded) == by_maps(counted_reader(), maps)


@pytest.mark.parametrize("empty", [{}, {IDS[0]: 0.0}, {"UNKNOWN": 0.0}])
def test_empty_cells_get_an_error_and_stop_no_others(empty):
    maps = maps_of(adata())[:3]
    said = by_maps(counted_reader(), [maps[0], empty, maps[1], maps[2]])
    assert said["errors"] == [None, "cell is empty", None, None]
    alone = by_maps(counted_reader(), [empty, empty])
    assert alone["errors"] == ["cell is empty"] * 2
    assert alone["tokens"] == [[], []]
    assert alone["warnings"] == ["`…` holds nothing but zeros"]


@pytest.mark.parametrize(
    ("cell", "warnings"),
    [
        ({"GENE1": 1.0}, 1),
        ({"GENE1": 7.0}, 0),
        ({"GENE1": 1e9}, 0),
        ({name: 1.0 for name in SYMBOLS}, 1),
        ({name: float(1 + (n % 40 == 0)) for n, name in enumerate(SYMBOLS)}, 0),
        ({**{name: 1.0 for name in SYMBOLS[:50]}, "GENE70": 1e9}, 0),
    ],
)
def test_single_odd_cells_of_counts_are_read(cell, warnings):
    said = by_maps(counted_reader(), [cell])
    assert said["errors"] == [None]
    assert said["used"] == [min(len(cell), 14)]
    # That all values are 0 or 1 is so in a file of this cell too.
    assert len(said["warnings"]) == warnings
    assert all("0 or 1" in warning for warning in said["warnings"])


def demo_cell(genes: int, seed: int = 0) -> dict[str, float]:
    """Counts of a cell: the more genes, the fewer of them are counted once."""
    names = demo_vocabulary().ensembl_id
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(names), genes, replace=False)
    counted = 1 + rng.negative_binomial(0.4, 0.25 if genes < 10_000 else 0.06, genes)
    return {names[n].decode(): float(c) for n, c in zip(chosen.tolist(), counted, strict=True)}


def demo_vocabulary() -> GeneVocabulary:
    return GeneVocabulary.load(DEMO_GENES)


def test_cell_that_names_only_what_it_has_is_not_taken_for_one_without_zeros():
    genes = demo_vocabulary()
    reader = counted_reader(genes, LONG)
    for number in (60, 300, 1200, 5000, 12_000):
        said = by_maps(reader, [demo_cell(number)])
        assert (said["errors"], said["warnings"]) == ([None], []), number
        # The same cell many times, as somebody does who tries a service out.
        assert by_maps(reader, [demo_cell(number)] * 12)["errors"] == [None] * 12
    shallow = [dict(list(demo_cell(4000).items())[: 300 + 50 * n]) for n in range(4)]
    said = by_maps(reader, [demo_cell(4000), *shallow])
    assert (said["errors"], said["warnings"]) == ([None] * 5, [])


def test_counts_with_one_added_are_refused():
    names = [name.decode() for name in demo_vocabulary().ensembl_id.tolist()]
    cell = {**dict.fromkeys(names, 1.0), **{n: c + 1 for n, c in demo_cell(3000).items()}}
    reader = counted_reader(demo_vocabulary(), LONG)
    assert "counts plus 1" in by_maps(reader, [cell])["refused"]
    among = by_maps(reader, [demo_cell(1500, 1), demo_cell(1500, 2), cell])
    assert among["errors"][:2] == [None, None]
    assert "values for every gene" in among["errors"][2]


REFUSED = {
    "z-scores": (maps_of(named(SYMBOLS, values()["z-scores"])), {}),
    "tpm": (maps_of(named(SYMBOLS, values()["tpm"])), {}),
    "unknown": ([{"FOO": 3.0, "BAR": 1.0}], {}),
    "mouse": (maps_of(named(NAMES["other species"])), {}),
    "symbols of a mouse": (maps_of(named(s.capitalize() for s in SYMBOLS)), {}),
    "organism": (maps_of(adata()), {"organism": "mouse"}),
    "no organism": ([{}], {"organism": "unicorn"}),
    "coverage": (maps_of(named(NAMES["most unknown"])), {"min_coverage": 0.9}),
    "no cells": ([], {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_two_lines_about_a_request(case):
    maps, options = REFUSED[case]
    with pytest.raises(CellFileError) as caught:
        counted_reader().read(maps, [str(n) for n in range(len(maps))], CellOptions(**options))
    problem, hint = caught.value.problem, caught.value.hint
    assert problem
    assert hint
    for line in (problem, hint):
        assert "\n" not in line
        for word in ("--", "var_names", "file", "column", "layer", "AnnData", "obs["):
            assert word not in line, line


def test_doubts_are_said_of_a_request():
    maps = maps_of(named(NAMES["dates"]))
    (warning,) = by_maps(counted_reader(), maps)["warnings"] or [""]
    assert "dates" in warning
    assert "--" not in warning
    assert "column" not in warning


def test_threads_share_a_reader():
    genes, cells = vocabulary(), named(NAMES["some unknown"])
    maps = maps_of(cells)
    expected = [by_maps(counted_reader(genes), [cell]) for cell in maps]
    reader = counted_reader(genes)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda cell: by_maps(reader, [cell]), maps * 10))
    assert found == expected * 10


def test_names_must_be_as_many_as_cells():
    with pytest.raises(ValueError, match="2 cells have 1 names"):
        counted_reader().read([{"GENE1": 1.0}] * 2, ["one"])


FILES = (
    "pbmc3k_labelled_raw",
    "kang18_lupus_6donors_raw",
    "fetal_forebrain_2236x2000_raw",
    "pbmc68k_reduced_700x765_raw",
    "sc_celseq2_raw",
    "pbmc_1k_v2_raw_unlabelled",
    "glioblastoma_5000x300_raw",
    "oligodendroglioma_not_counts",
)


def check_real_cells(name: str, number: int, groups: tuple[int, ...]) -> None:
    whole = anndata.read_h5ad(shared(f"cells/{name}.h5ad"))
    genes, rng = demo_vocabulary(), np.random.default_rng(0)
    cells = anndata.AnnData(
        sp.csr_matrix(whole.X), var=pd.DataFrame(index=list(map(str, whole.var_names)))
    )
    reader = counted_reader(genes, LONG)
    picks = [[n] for n in rng.permutation(cells.n_obs)[:number].tolist()]
    picks += [sorted(rng.choice(cells.n_obs, size, replace=False).tolist()) for size in groups]
    for pick in picks:
        some = cells[pick].copy()
        some.obs_names = [f"cell{n}" for n in range(len(pick))]
        assert by_maps(reader, maps_of(some)) == by_definition(some, genes, LONG), pick


@needs_anndata
@pytest.mark.parametrize("name", FILES)
def test_real_cells_are_read_as_in_a_file_of_them(name):
    check_real_cells(name, number=4, groups=(8,))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_hundreds_of_real_cells_are_read_as_in_a_file_of_them(name):
    check_real_cells(name, number=200, groups=(2, 5, 30))
