"""Label maps: what was proposed can be read back, and slips are refused in two lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2t.calibration.labels.note import note_map
from c2t.calibration.labels.proposal import propose_lines
from c2t.calibration.labels.proposal_file import check_proposal_target, write_proposal
from c2t.calibration.metrics.labels import TrueLabels
from c2t.runtime.labels.label_map import check_known, read_label_map
from c2t.runtime.system.errors import EvaluationError, OutputError

OWN = ["B"] * 3 + ['CD14+ Mono, "x"'] * 4 + ["odd\tone"] * 2
SAID = ["B cell"] * 3 + ["CD14-positive monocyte"] * 4 + ["a", "b"]


def test_a_proposal_with_a_carriage_return_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    write_proposal(path, propose_lines(["B\rx"] * 3, ["B cell"] * 3))
    assert read_label_map(path)["cell_type"].labels == {"B\rx": "B cell"}
    assert b"\r\n" not in path.read_bytes()


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_a_proposal_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"map{suffix}"
    lines = propose_lines(OWN, SAID)
    write_proposal(path, lines)
    read = read_label_map(path)["cell_type"]
    assert read.labels == {"B": "B cell", 'CD14+ Mono, "x"': "CD14-positive monocyte"}
    assert read.assigned == ('CD14+ Mono, "x"',)
    with pytest.raises(OutputError, match="exists already"):
        write_proposal(path, lines)
    write_proposal(path, lines, force=True)
    with pytest.raises(OutputError, match="exists already"):
        check_proposal_target(path)
    with pytest.raises(OutputError, match="is a table"):
        check_proposal_target(tmp_path / "map.json")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("m.csv", "label,name\n", "names no label"),
        ("m.csv", "", "no columns label and name"),
        ("m.csv", "label,name,use\nB,B cell,no\n", "names no label"),
        ("m.csv", "label,said\nB,B cell\n", "no columns label and name"),
        ("m.csv", "label,name\nB,B cell\nT,x\nB,y\n", "line 4 of the label map .* 'B' again"),
        ("m.csv", "label,name\nB,\n", "line 2 of the label map .* has no name for 'B'"),
        ("m.csv", "label,name\nB\n", "has no name for 'B'"),
        ("m.csv", "label,name\n,x\n", "has no label"),
        ("m.csv", "label,name,use\nB,x,maybe\n", "has 'maybe' in the column use"),
        ("m.csv", "label,name,use\nB,x,\n", "has '' in the column use"),
        ("m.tsv", "label\tname\tontology_id\nA\tx\tC:1\nB\tx\tC:2\n", "another ontology_id"),
        ("m.csv", 'label,name\n"' + "B" * 200_000, "cannot be read as a table"),
        ("m.json", "{}", "names no label"),
        ("m.json", '{"B": "B cell", "B": "x"}', "'B' twice"),
        ("m.json", '{"cell_type": {"labels": {"B": "x", "B": "y"}}}', "'B' twice"),
        ("m.json", '{"B": " "}', "no name for 'B'"),
        ("m.json", '{"cell_type": {}}', "names no label"),
    ],
)
def test_slips_are_refused(tmp_path: Path, name: str, text: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=problem) as caught:
        read_label_map(path)
    assert caught.value.hint
    assert "\n" not in caught.value.problem


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"label,name\n\xff\xfe,x\n")
    with pytest.raises(EvaluationError, match="no UTF-8"):
        read_label_map(path)


def test_tables_of_spreadsheets(tmp_path: Path) -> None:
    """A mark in front, semicolons, other columns, capitals, empty lines; many labels, one name."""
    path = tmp_path / "m.csv"
    path.write_bytes(
        "\ufeffLabel;Mine;NAME;ontology_id;use\r\n"
        "B;1;B cell;CL:2;YES\r\n;;;;\r\nnaive B;2;B cell;;true\r\nT;3;;;no\r\n".encode()
    )
    read = read_label_map(path)["cell_type"]
    assert read.labels == {"B": "B cell", "naive B": "B cell"}
    assert read.terms == {"B cell": "CL:2"}
    assert read.assigned == ()


def test_labels_that_no_cell_has(tmp_path: Path) -> None:
    check_known(["B"], {"B", "T"}, column="kind")
    with pytest.raises(
        EvaluationError, match="no cell has the label `b`, `c`, `d` and 1 more"
    ) as c:
        check_known(["b", "c", "d", "e", "B"], {"B", "T"}, column="kind")
    assert "`B`, `T`" in c.value.hint


def test_what_figures_owe_to_a_map() -> None:
    true = TrueLabels(
        field="cell_type",
        column="kind",
        names=("B cell", "mono", "mono", None),
        own=("B", "CD14", "CD14", ""),
        renamed=("B", "CD14"),
        assigned=("CD14",),
    )
    note = note_map(true, ["B cell", "mono", "x", "x"], "m.tsv")
    assert note is not None
    assert (note.renamed, note.assigned, note.renamed_cells) == (2, 1, 1.0)
    assert note.assigned_cells == pytest.approx(2 / 3)
    assert note.accuracy_named == 1.0
    assert "assigned on counts" in note.sentence
