"""The groups of a report: from columns, from the table beside the results, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from described_cells import caption, lines_file, record, type_of
from fake_descriptions import FakeModel, make_run
from report_pages import NASTY, page_of, report

from c2t.runtime.groups.labels import label_codes
from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.output.grouping import Grouping
from c2t.runtime.output.parts.write import describe_to_parts
from c2t.runtime.report.report import ReportOptions, make_report
from c2t.runtime.report.results import read_results
from c2t.runtime.system.errors import C2TError

GROUPS = (
    "group,cells,errors,unsure,state,cell_type,cell_type_ontology_term_id,share,runner_up,"
    "runner_up_ontology_term_id,runner_up_share,text_of_mean_vectors\n"
)


def grouped(tmp_path: Path) -> Path:
    """Lines of ten cells in two groups, one cell in none."""
    path = tmp_path / "grouped.jsonl"
    lines = []
    for n in range(10):
        group = None if n == 9 else "b" if n < 3 else "a"
        made = {
            "cell": f"c{n}",
            "text": caption(type_of(n)),
            "error": None,
            "group": group,
            "group_cell_type": group and ("B cell" if group == "a" else "mixed"),
            "group_cell_type_ontology_term_id": group and "CL:0000236",
            "group_share": group and 0.5,
        }
        lines.append(json.dumps(made))
    path.write_text("\n".join(lines))
    return path


def test_groups_of_the_columns(tmp_path: Path) -> None:
    made = report(grouped(tmp_path))
    assert [(line.name, line.cells, line.answer, line.share) for line in made.lines] == [
        ("a", 6, "B cell", 0.5),
        ("b", 3, "mixed", 0.5),
    ]
    page = page_of(made)
    assert "Groups of cells" in page.text
    assert "http://purl.obolibrary.org/obo/CL_0000236" in page.attributes("href")


def test_groups_of_the_table(tmp_path: Path) -> None:
    table = tmp_path / "grouped.groups.csv"
    table.write_text(
        f"{GROUPS}a,6,0,2,consensus,B cell,CL:0000236,0.5,T cell,CL:0000084,0.25,{NASTY}\n"
        "b,3,0,0,mixed,mixed,unknown,0.4,,,,\n"
    )
    made = make_report(read_results(grouped(tmp_path)), ReportOptions(groups=table))
    assert [line.unsure for line in made.lines] == [2, 0]
    page = page_of(made)
    assert "T cell 25 %" in page.text
    assert NASTY in page.text
    assert "Texts of groups" in page.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n", "is no table of groups"),
        (f"{GROUPS}a,5,0,2,consensus,B cell,,0.5,,,,\nb,3,0,0,mixed,mixed,,0.4,,,,\n", "5 cells"),
        (f"{GROUPS}a,6,0,2,consensus,B cell,,0.5,,,,\n", "no line"),
        (f"{GROUPS}" + "a,6,0,2,consensus,B cell,,0.5,,,,\n" * 2, "twice"),
        (f"{GROUPS}a,six,0,2,consensus,B cell,,0.5,,,,\n", "cannot be read"),
        (f"{GROUPS}a\n", "no line|cannot be read|has 0 cells"),
        ("group,cells,cell_type,share\n\xff", "cannot be read|no line"),
    ],
)
def test_groups_of_another_run_are_refused(tmp_path: Path, content: str, words: str) -> None:
    table = tmp_path / "groups.csv"
    table.write_bytes(content.encode("latin-1"))
    results = read_results(grouped(tmp_path))
    with pytest.raises(C2TError, match=words) as caught:
        make_report(results, ReportOptions(groups=table))
    assert "groups.csv" in str(caught.value.hint)
    with pytest.raises(C2TError, match="No such file"):
        make_report(results, ReportOptions(groups=tmp_path / "none.csv"))


TABLE = (
    f"{GROUPS}a,6,0,2,consensus,B cell,CL:0000236,0.5,,,,\nb,3,0,0,mixed,mixed,unknown,0.4,,,,\n"
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"{TABLE}c,9,0,0,consensus,T cell,,1,,,,\n", "has the group 'c', which no cell"),
        (TABLE.replace("B cell", "T cell"), "says 'T cell' of the group 'a'.*say 'B cell'"),
        (TABLE.replace("a,6", "A,6"), "no line for the group 'a'"),
    ],
)
def test_groups_that_the_results_lack_are_refused(tmp_path: Path, content: str, words: str) -> None:
    table = tmp_path / "groups.csv"
    table.write_text(content)
    with pytest.raises(C2TError, match=words):
        make_report(read_results(grouped(tmp_path)), ReportOptions(groups=table))


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_table_is_refused_where_no_cell_has_a_group(tmp_path: Path, suffix: str) -> None:
    table = tmp_path / "groups.csv"
    table.write_text(TABLE)
    plain = lines_file(
        tmp_path / f"plain.{suffix}", [record(n, f"c{n}", type_of(n)) for n in range(9)]
    )
    with pytest.raises(C2TError, match="say no cell's group") as caught:
        make_report(read_results(plain), ReportOptions(groups=table))
    assert "leave --groups out" in str(caught.value.hint)


def parts(cells: Path, folder: Path, values: list[str] | None) -> Path:
    """Parts of the twelve cells, grouped by values or not."""
    grouping = None
    if values is not None:
        options = GroupOptions(by="own", text=False)
        grouping = Grouping(options=options, given=label_codes(values))
    describe_to_parts(make_run(cells), folder, FakeModel(), part_cells=5, grouping=grouping)
    return folder


def test_parts_say_the_groups_of_their_cells(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    cells = tmp_path / "cells.h5ad"
    cells.write_bytes(b"cells")
    values = ["a"] * 4 + [""] + ["b"] * 7
    folder = parts(cells, tmp_path / "a.parts", values)
    results = read_results(folder)
    assert results.groups == [value or None for value in values]
    made = make_report(results, ReportOptions(groups=folder / "groups.csv"))
    assert [(line.name, line.cells) for line in made.lines] == [("b", 7), ("a", 4)]
    assert [(line.name, line.cells) for line in report(folder).lines] == [("b", 7), ("a", 4)]
    other = parts(cells, tmp_path / "b.parts", None)
    assert not report(other).lines
    with pytest.raises(C2TError, match="say no cell's group"):
        make_report(read_results(other), ReportOptions(groups=folder / "groups.csv"))
