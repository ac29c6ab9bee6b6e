"""Labels from files and branches of ontologies: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shared_data import shared

from c2t.runtime.annotate.labels import Label, LabelError, Labels, id_doubts, read_labels, with_ids
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.terms import make_table
from c2t.runtime.system.errors import C2TError

TERMS = {
    "CL:0000542": {"label": "lymphocyte", "ancestors": {"CL:0000738": 1}},
    "CL:0000084": {"label": "T cell", "ancestors": {"CL:0000542": 1, "CL:0000738": 2}},
    "CL:0000236": {"label": "B cell", "ancestors": {"CL:0000542": 1}},
    "CL:0000738": {"label": "leukocyte", "ancestors": {}},
    "CL:0000235": {"label": "macrophage", "ancestors": {"CL:0000738": 1}},
    "CL:0000001": {
        "label": "obsolete T cell",
        "ancestors": {"CL:0000542": 1},
        "deprecated": True,
        "replaced_by": "CL:0000084",
    },
}


@pytest.fixture
def ontology(tmp_path: Path) -> Path:
    path = tmp_path / "cl.json"
    path.write_text(json.dumps(TERMS))
    return path


def written(tmp_path: Path, text: str | bytes, name: str = "labels.txt") -> str:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_a_label_a_line(tmp_path: Path) -> None:
    text = "\ufeffB cell\r\n\r\n  CD4-positive,   alpha-beta T cell \nplatelet"
    labels = read_labels(written(tmp_path, text))
    assert labels.names == ("B cell", "CD4-positive, alpha-beta T cell", "platelet")
    assert labels.ids is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", 'ID,Label\nCL:1,"CD4-positive, alpha-beta T cell"\n,platelet\n\n'),
        ("x.tsv", "name\tid\nCD4-positive, alpha-beta T cell\tCL:1\nplatelet\t\n"),
        (
            "x.csv",
            'ontology_id,x,label\nCL:1,,"CD4-positive, alpha-beta T cell"\n,,platelet\n',
        ),
    ],
)
def test_tables(tmp_path: Path, name: str, text: str) -> None:
    labels = read_labels(written(tmp_path, text, name))
    assert labels.labels == (Label("CD4-positive, alpha-beta T cell", "CL:1"), Label("platelet"))
    assert labels.ids == ("CL:1", "")


def test_a_branch(ontology: Path) -> None:
    labels = read_labels("CL:0000542", ontology)
    assert labels.labels == (
        Label("lymphocyte", "CL:0000542"),
        Label("T cell", "CL:0000084"),
        Label("B cell", "CL:0000236"),
    )
    assert read_labels("CL:0000236", ontology).names == ("B cell",)
    assert read_labels("CL:0000001", ontology).names == ("T cell",)  # what replaces it


def test_ids_in_a_file_are_named(tmp_path: Path, ontology: Path) -> None:
    labels = read_labels(written(tmp_path, "CL:0000236\nplatelet\n"), ontology)
    assert labels.labels == (Label("B cell", "CL:0000236"), Label("platelet"))


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("", "x.txt", "has no labels"),
        ("\n \n", "x.txt", "has no labels"),
        ("label,id\n", "x.csv", "has no labels"),
        ("", "x.csv", "has no labels"),
        ("B cell\nT cell\nB  cell\n", "x.txt", "'B cell' twice"),
        ("B cell\nb Cell\n", "x.txt", "the same label"),
        ("label,id\nB cell,CL:1\n,CL:2\n", "x.csv", "empty label"),
        ("B cell,CL:1\nT cell,CL:2\n", "x.csv", "no column called label"),
        ("label\nCD4-positive, alpha-beta T cell\n", "x.csv", "row 2 of .* has 2 values"),
        ("\n".join(f"label {n}" for n in range(1001)), "x.txt", "1,001 labels"),
        ("T" * 400, "x.txt", "no caption could say"),
        ("B\u202ecell", "x.txt", "no caption could say"),
        (b"\xff\xfeB\x00", "x.txt", "not text in UTF-8"),
        ("CL:9999999\n", "x.txt", "no term CL:9999999"),
        ("label,id\nB cell,mine:1\nT cell,CL:9999999\n", "x.csv", "no term CL:9999999"),
    ],
)
def test_refused(
    tmp_path: Path, ontology: Path, text: str | bytes, name: str, problem: str
) -> None:
    with pytest.raises(LabelError, match=problem) as caught:
        read_labels(written(tmp_path, text, name), ontology)
    assert caught.value.hint


def test_no_such_place(tmp_path: Path, ontology: Path) -> None:
    with pytest.raises(LabelError, match="there is no file"):
        read_labels(str(tmp_path / "none.txt"))
    with pytest.raises(LabelError, match="no term CL:7777777"):
        read_labels("CL:7777777", ontology)
    with pytest.raises(C2TError, match="not a regular file"):
        read_labels(str(tmp_path))
    with pytest.raises(C2TError, match="there is no ontology file"):
        read_labels("CL:0000542", tmp_path / "none.obo")


class _Terms:
    fields = frozenset({"cell_type"})

    def id_of(self, field: str, name: str) -> str:
        return {"B cell": "CL:0000236", "T cell": "CL:0000084"}.get(name, "unknown")

    def knows(self, field: str, name: str) -> bool:
        return self.id_of(field, name) != "unknown"


def test_ids_of_the_bundles_table_where_there_are_none(tmp_path: Path) -> None:
    text = "label,id\nB cell,mine:1\nT cell,\nxyz,\n"
    labels = with_ids(
        read_labels(written(tmp_path, text, "x.csv")), FieldReader(PAPER_RULES, _Terms())
    )
    assert labels.labels == (
        Label("B cell", "mine:1"),
        Label("T cell", "CL:0000084"),
        Label("xyz"),
    )
    bare = with_ids(read_labels(written(tmp_path, "B cell")), FieldReader(PAPER_RULES))
    assert bare.ids is None


def test_the_real_branch_of_lymphocytes() -> None:
    pytest.importorskip("zstandard")
    path = shared("ontologies/CL-ontology-v2026-03-26.json.zst")
    labels = read_labels("CL:0000542", path)
    assert len(labels.labels) > 300
    assert {"B cell", "natural killer cell", "T cell"} <= set(labels.names)
    assert not {"monocyte", "platelet"} & set(labels.names)


@pytest.mark.parametrize("in_a_file", [False, True])
def test_no_ontology_where_none_is_installed(
    in_a_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.runtime.labels.ontology_file.GUIDE", "c2t_no_such_guide")
    wanted = written(tmp_path, "CL:0000542\n") if in_a_file else "CL:0000542"
    with pytest.raises(LabelError, match="no ontology with CL ids is installed") as caught:
        read_labels(wanted)
    hint = str(caught.value.hint)
    assert "--ontology cl.obo" in hint
    assert "pip install cellxgene-ontology-guide" in hint
    assert "\n" not in caught.value.problem + hint


def test_ids_that_the_bundle_contradicts_are_doubted() -> None:
    table = make_table({("cell_type", "b cell"): "CL:0000236", ("cell_type", "t"): "CL:0000084"})
    reader = FieldReader(PAPER_RULES, table)
    bad = Labels((Label("B cell", "CL:0000623"), Label("NK", "CL:0000623")), "labels.csv")
    (doubt,) = id_doubts(bad, reader)
    assert "look at the ids of labels.csv" in doubt
    assert "`B cell` is CL:0000236 in the bundle's table, not CL:0000623" in doubt
    assert "CL:0000623 is the id of `B cell` and `NK`" in doubt
    good = Labels((Label("B cell", "CL:0000236"), Label("other", "own:1"), Label("x")), "l.csv")
    assert id_doubts(good, reader) == []
    assert id_doubts(bad, FieldReader(PAPER_RULES)) != []  # without a table, ids are there twice
