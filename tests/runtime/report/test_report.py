"""What a report says, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from described_cells import (
    ABOUT,
    LABELS,
    TYPES,
    add_obsm,
    caption,
    cells_file,
    described_file,
    lines_file,
    record,
    type_of,
)
from report_pages import NASTY, page_of, report

from c2t.runtime.output.record import Record
from c2t.runtime.report import cells as cells_module
from c2t.runtime.report.cells import CellsAsked
from c2t.runtime.report.page import make_page
from c2t.runtime.report.report import ReportOptions, make_report, term_link
from c2t.runtime.report.results import read_results
from c2t.runtime.report.write import WriteReportOptions, write_report
from c2t.runtime.summary.categories import UNSURE
from c2t.runtime.system.errors import C2TError

AWKWARD = (
    NASTY,
    '"><img src=x onerror=alert(2)>',
    "</style><script>alert(3)</script>",
    "' onload='alert(4)",
    "&lt;script&gt;",
    "\u202eevil\x1b[31m",
    "]]><svg/onload=alert(5)>",
    "javascript:alert(6)",
)


def nasty_evidence(path: Path, types: list[str]) -> Path:
    lines = [
        {
            "cell": NASTY,
            "words": name,
            "genes": [{"gene_id": NASTY, "symbol": NASTY, "evidence": 1.0, "direction": "for"}],
        }
        for name in types
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_types_shares_texts_and_genes(tmp_path: Path) -> None:
    made = report(described_file(tmp_path), labels="own")
    assert [part.name for part in made.types] == list(TYPES)
    assert [part.cells for part in made.types] == [30, 20, 10]
    for number, part in enumerate(made.types):
        assert part.text == caption(part.name)
        assert part.text_cells == part.cells
        assert {g.name for g in part.genes[:3]} == {f"GENE{3 * number + n}" for n in range(3)}
    assert made.cells_part.plane.startswith("obsm['X_umap']")
    assert made.compared is not None
    assert made.compared.rand_index == 1
    assert made.compared.same == 0
    page = page_of(made)
    for words in (*TYPES, *LABELS.values(), "50 %", "GENE0", "tiny", "adjusted Rand index is 1.00"):
        assert words in page.text
    assert caption("B cell") in page.text


def test_a_map_says_what_labels_mean(tmp_path: Path) -> None:
    path = described_file(tmp_path)
    options = ReportOptions(
        cells=CellsAsked(labels="own"), label_map={label: name for name, label in LABELS.items()}
    )
    made = make_report(read_results(path), options)
    assert made.compared is not None
    assert made.compared.same == made.compared.cells == 60
    assert "3 labels being renamed" in page_of(made).text


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_cells_are_found_by_their_names(tmp_path: Path, suffix: str) -> None:
    described_file(tmp_path)
    few = [record(n, f"cell{n}", type_of(n)) for n in (7, 3, 11, 5, 1, 2, 9, 8)]
    lines = lines_file(tmp_path / f"r.{suffix}", few)
    made = report(lines, path=tmp_path / "cells.h5ad", labels="own")
    labels = [LABELS[type_of(n)] for n in (7, 3, 11, 5, 1, 2, 9, 8)]
    assert made.cells_part.labels == labels
    whole = report(tmp_path / "described.h5ad")
    assert made.cells_part.places is not None
    assert whole.cells_part.places is not None
    np.testing.assert_array_equal(
        made.cells_part.places, whole.cells_part.places[[7, 3, 11, 5, 1, 2, 9, 8]]
    )


def test_without_a_file_of_cells(tmp_path: Path) -> None:
    lines = lines_file(tmp_path / "r.jsonl", [record(n, f"c{n}", type_of(n)) for n in range(9)])
    page = page_of(report(lines))
    assert "No picture of the cells: no file of cells was given." in page.text
    assert "Top genes" not in page.text


def test_components_where_there_is_no_plane(tmp_path: Path) -> None:
    path = described_file(tmp_path, umap=False)
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    vectors[5] = np.nan
    add_obsm(path, "X_c2t", vectors)
    made = report(path)
    assert "principal components of obsm['X_c2t']" in made.cells_part.plane
    assert made.cells_part.places is not None
    assert np.isnan(made.cells_part.places[5]).all()
    assert "1 cell has no place" in page_of(made).text


def test_an_embedding_is_read_in_blocks_however_far_apart_the_cells_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = described_file(tmp_path, umap=False)
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    add_obsm(path, "X_c2t", vectors)
    wanted = [*range(0, 20), *range(23, 60, 4)]
    lines = lines_file(tmp_path / "some.jsonl", [record(n, f"cell{n}", type_of(n)) for n in wanted])
    whole = report(lines, path=path).cells_part.places
    read, spans = cells_module.read_dataset, []

    def watched(dataset: Any, rows: slice, key: str) -> Any:
        spans.append((rows.start, rows.stop))
        return read(dataset, rows, key)

    monkeypatch.setattr(cells_module, "read_dataset", watched)
    monkeypatch.setattr(cells_module, "_BLOCK_BYTES", 7 * 8 * 4)
    np.testing.assert_array_equal(report(lines, path=path).cells_part.places, whole)
    assert max(stop - start for start, stop in spans) == 7
    assert spans[:4] == [(0, 7), (7, 14), (14, 20), (23, 28)]


@pytest.mark.parametrize("shape", [(60,), (60, 1), (12, 2), (60, 2, 2)])
def test_a_plane_that_cannot_be_used_is_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = described_file(tmp_path, umap=False)
    add_obsm(path, "X_umap", np.zeros(shape, np.float32))
    made = report(path)
    assert made.cells_part.places is None
    assert "No picture of the cells" in page_of(made).text


def test_errors_and_unnamed_types_are_counted_apart(tmp_path: Path) -> None:
    records: list[Record] = [record(n, f"cell{n}", type_of(n)) for n in range(60)]
    for n in (4, 9):
        records[n] = record(n, f"cell{n}", None, error="cell has no gene tokens")
    records[11] = record(11, "cell11", None)
    made = report(described_file(tmp_path, records=records))
    assert made.failed == [("cell has no gene tokens", 2)]
    assert made.not_named == 1
    page = page_of(made)
    assert "cell has no gene tokens" in page.text
    assert "not described" in page.text
    assert "The text of 1 cell names no cell type." in page.text


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    ids = [AWKWARD[n % len(AWKWARD)] + str(n) for n in range(16)]
    types = [AWKWARD[n % len(AWKWARD)] for n in range(16)]
    records = [
        Record(
            row=n,
            cell=ids[n],
            text=None if n > 13 else caption(types[n]),
            confidence=0.5,
            cell_type_confidence=0.1,
            genes_used=3,
            error=types[n] if n > 13 else None,
        )
        for n in range(16)
    ]
    about = {name.replace("/", ""): NASTY for name in AWKWARD}
    path = described_file(tmp_path, ids=ids, types=types, records=records, umap=False, about=about)
    results = read_results(path)
    object.__setattr__(results, "terms", {"cell_type": [*AWKWARD, *AWKWARD]})
    made = make_report(
        results,
        ReportOptions(
            cells=CellsAsked(labels="own"),
            evidence=nasty_evidence(tmp_path / "evidence.jsonl", types),
            title=NASTY,
        ),
    )
    page = page_of(made)
    assert NASTY in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_an_endless_text_is_cut(tmp_path: Path) -> None:
    long = record(0, "c" * 5000, "T cell" + " x" * 50_000)
    text = make_page(report(lines_file(tmp_path / "r.jsonl", [long, long])))
    assert len(text) < 60_000


def test_a_million_points_are_pixels(tmp_path: Path) -> None:
    """With 25,000 here: more than 20,000 are drawn so, in a picture of one size."""
    path = described_file(tmp_path, cells=25_000)
    page = make_page(report(path, most_genes=0))
    assert "data:image/png;base64," in page
    assert "<path" not in page
    assert len(page) < 400_000


def test_many_types_are_told_and_listed_and_counted(tmp_path: Path) -> None:
    records = [record(n, f"c{n}", f"kind {n % 500:03d}") for n in range(1500)]
    made = report(lines_file(tmp_path / "r.jsonl", records))
    assert (len(made.types), len(made.listed), made.unlisted) == (40, 160, 300)
    assert made.rarer == 480
    page = page_of(made)
    assert "and 300 rarer types" in page.text
    assert "480 rarer types" in page.text


def test_links_of_ontology_ids() -> None:
    assert term_link("CL:0000236") == "http://purl.obolibrary.org/obo/CL_0000236"
    for term in ("unknown", "CL:1/../x", "javascript:0000", "CL:0000236 ", "XX:0000236"):
        assert term_link(term) is None


def refused(tmp_path: Path, results: Path, /, **asked: Any) -> str:
    output = tmp_path / "page.html"
    with pytest.raises(C2TError) as caught:
        write_report(
            WriteReportOptions(
                results=results,
                output=output,
                about=ReportOptions(cells=CellsAsked(**asked)),
            )
        )
    assert caught.value.hint
    assert not output.exists()
    return str(caught.value.problem)


def test_bad_input_writes_nothing(tmp_path: Path) -> None:
    path = described_file(tmp_path)
    lines = lines_file(tmp_path / "r.jsonl", [record(0, "elsewhere", "B cell")])
    assert "/obs/nope is missing" in refused(tmp_path, path, labels="nope")
    assert "no column 'own' of labels" in refused(tmp_path, lines, labels="own")
    assert "`elsewhere`" in refused(tmp_path, lines, path=tmp_path / "cells.h5ad")
    assert "no such file" in refused(tmp_path, lines, path=tmp_path / "none.h5ad")
    assert "no such file" in refused(tmp_path, tmp_path / "none.jsonl")


def test_names_that_repeat_are_refused_unless_the_order_is_that_of_the_file(tmp_path: Path) -> None:
    ids = ["a", "b", "a", "c", "d", "e"]
    source = cells_file(tmp_path / "cells.h5ad", ids, [type_of(n) for n in range(6)])
    in_order = [record(n, ids[n], type_of(n)) for n in range(4)]
    lines = lines_file(tmp_path / "r.jsonl", in_order)
    made = report(lines, path=source, labels="own")
    assert made.cells_part.labels == [LABELS[type_of(n)] for n in range(4)]
    other = lines_file(tmp_path / "o.jsonl", in_order[::-1])
    assert "names of cells repeat" in refused(tmp_path, other, path=source)


def test_a_page_is_replaced_only_with_force(tmp_path: Path) -> None:
    path = described_file(tmp_path)
    output = tmp_path / "page.html"
    options = WriteReportOptions(results=path, output=output)
    write_report(options)
    before = output.read_text(encoding="utf-8")
    with pytest.raises(C2TError, match="exists already"):
        write_report(options)
    write_report(WriteReportOptions(results=path, output=output, force=True))
    assert output.read_text(encoding="utf-8") == before
    with pytest.raises(C2TError, match="no name of a page"):
        write_report(WriteReportOptions(results=path, output=tmp_path / "page.pdf"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cells.h5ad",
        "described.h5ad",
        "page.html",
    ]


def test_the_results_stay_as_they_are(tmp_path: Path) -> None:
    path = described_file(tmp_path)
    before = path.read_bytes()
    write_report(WriteReportOptions(results=path, output=tmp_path / "page.html"))
    assert path.read_bytes() == before


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    text = make_page(report(described_file(tmp_path), labels="own"))
    assert not re.search(r"(?:src|url|@import|<link|<iframe|<object)\s*[=(]", text)


def test_unsure_cells_are_counted_by_what_their_texts_say(tmp_path: Path) -> None:
    """docs/how-to/unsure.md: texts and fields stay as they are; nothing is hidden."""
    records = [replace(record(n, f"cell{n}", type_of(n)), unsure=n < 12) for n in range(60)]
    records[1] = replace(record(1, "cell1", None, error="no genes"), unsure=True)
    path = described_file(tmp_path, records=records, about=ABOUT | {"unsure": {"below": 0.8}})
    names = {label: name for name, label in LABELS.items()}
    made = make_report(
        read_results(path), ReportOptions(cells=CellsAsked(labels="own"), label_map=names)
    )
    assert [(one.name, one.cells, one.unsure) for one in made.types] == [
        ("B cell", 30, 6),
        ("T cell", 19, 3),
        ("monocyte", 10, 2),
    ]
    assert [(one.name, one.cells, one.unsure) for one in made.apart] == [("not described", 1, 0)]
    assert made.unsure == 11
    assert sum(one.share for one in (*made.types, *made.apart)) == pytest.approx(1)
    assert made.compared is not None
    assert made.compared.sure is not None
    assert (made.compared.same, made.compared.cells) == (59, 60)
    assert (made.compared.sure.same, made.compared.sure.cells) == (48, 49)
    assert UNSURE not in made.compared.columns
    page = page_of(made)
    assert "59 of 60 labelled cells" in page.text
    assert "Of the 49 that are not unsure, 48 have the name of their label" in page.text
    assert "of these unsure, drawn in grey" in page.text
    assert "30 cells, 50 %, 6 of them unsure" in page.text


def test_all_cells_are_in_the_table_of_many_types(tmp_path: Path) -> None:
    records = [record(n, f"c{n}", f"kind {n % 500:03d}") for n in range(1500)]
    records[3] = record(3, "c3", None)
    made = report(lines_file(tmp_path / "r.jsonl", records))
    counted = sum(one.cells for one in (*made.types, *made.listed, *made.apart))
    rest = re.search(r"and 300 rarer types</th>\s*<td[^>]*>(\d+)<", make_page(made))
    assert rest is not None
    assert counted + int(rest[1]) == 1500


def test_as_many_top_genes_as_are_asked_for(tmp_path: Path) -> None:
    made = report(described_file(tmp_path), most_genes=15)
    shown = len(re.findall('class="gene"', make_page(made)))
    assert shown == sum(len(part.genes) for part in made.types)
    assert max(len(part.genes) for part in made.types) > 10


def test_a_type_without_top_genes_says_why(tmp_path: Path) -> None:
    records = [record(n, f"cell{n}", "platelet" if n < 2 else type_of(n)) for n in range(60)]
    path = described_file(tmp_path, records=records)
    page = page_of(report(path)).text
    assert page.count("No top genes: a type of fewer than 3 cells is not compared.") == 1
    assert "No top genes" not in page_of(report(path, most_genes=0)).text


def test_a_probability_of_being_right_is_shown_with_its_threshold(tmp_path: Path) -> None:
    plain = page_of(report(described_file(tmp_path))).text
    assert "no measured accuracy" in plain
    assert "probability of being right" not in plain
    records = [
        replace(record(n, f"cell{n}", type_of(n)), cell_type_probability=n / 60, unsure=n < 48)
        for n in range(60)
    ]
    about = ABOUT | {"unsure": {"below": 0.807, "compared": "cell_type_probability"}}
    path = described_file(tmp_path, records=records, about=about)
    page = page_of(report(path)).text
    assert "Cells by the probability that their cell type is right" in page
    assert "48 cells are called unsure: cell type probability below the threshold of 0.807" in page
    strange = described_file(tmp_path, records=records, about=ABOUT | {"unsure": {"below": "x"}})
    assert "below the threshold of the run" in page_of(report(strange)).text


def test_a_column_of_labels_that_is_not_there(tmp_path: Path) -> None:
    path = described_file(tmp_path)
    for name, hint in (("Own", "near ones are: own"), ("zzz", "the columns there are: own")):
        with pytest.raises(C2TError, match=f"/obs/{name} is missing") as caught:
            report(path, labels=name)
        assert caught.value.hint == hint


def test_one_cell_is_no_cells(tmp_path: Path) -> None:
    page = page_of(report(lines_file(tmp_path / "r.jsonl", [record(0, "c0", "B cell")])))
    assert "1 cell described. " in page.text
    assert "1 cell, 100 %" in page.text
    assert not re.search(r"\b1 cells", page.text)
