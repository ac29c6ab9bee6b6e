import gzip
import json

import pytest
from shared_data import shared

from c2t.runtime.labels.ontology import Ontology, Term
from c2t.runtime.labels.ontology_file import installed_ontology, read_ontology
from c2t.runtime.system.errors import EvaluationError

OBO = """format-version: 1.2
ontology: cl

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000542
name: lymphocyte
is_a: CL:0000000 ! cell

[Term]
id: CL:0000084
name: T cell
synonym: "T \\"thymic\\" lymphocyte" EXACT []
synonym: "mature thing" RELATED []
is_a: CL:0000542 ! lymphocyte
is_a: GO:0000001 ! somewhere else

[Term]
id: CL:0000001
name: obsolete T cell
synonym: "old T cell" EXACT []
is_obsolete: true
replaced_by: CL:0000084

[Typedef]
id: part_of
name: part of
"""


def test_reads_obo(tmp_path):
    pytest.importorskip("obonet", reason="obonet is not installed: c2t[evaluate]")
    path = tmp_path / "cl.obo"
    path.write_text(OBO)
    found = read_ontology(path)
    assert [term.id for term in found.terms] == [
        "CL:0000000",
        "CL:0000542",
        "CL:0000084",
        "CL:0000001",
    ]
    assert found.edges == [(0, 1), (1, 2)]
    assert found.find('t "thymic" lymphocyte') == 2
    assert found.find("mature thing") is None  # related is not the same
    assert found.find("CL:0000001") == 2  # its successor
    assert found.find("old T cell") is None


def test_reads_the_guides_json_plain_and_packed(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    document = {
        "CL:0000000": {"ancestors": {}, "label": "cell", "deprecated": False},
        "CL:0000542": {"ancestors": {"CL:0000000": 1}, "label": "lymphocyte", "deprecated": False},
        "CL:0000084": {
            "ancestors": {"CL:0000542": 1, "CL:0000000": 2},
            "label": "T cell",
            "synonyms": ["T-cell"],
            "deprecated": False,
        },
    }
    raw = json.dumps(document).encode()
    for name, data in (
        ("cl.json", raw),
        ("cl.json.gz", gzip.compress(raw)),
        ("cl.json.zst", zstandard.compress(raw)),
    ):
        (tmp_path / name).write_bytes(data)
        found = read_ontology(tmp_path / name)
        assert found.edges == [(0, 1), (1, 2)]
        assert found.find("t-cells") == 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.json", b"[1, 2]"),
        ("x.json", b'{"CL:1": {"no": "label"}}'),
        ("x.json", b"{}"),
        ("x.json.gz", b"no gzip"),
        ("x.json.zst", b"no zstd"),
        ("x.obo", b"\x00\xff\xfe"),
        ("x.obo", b"format-version: 1.2\n"),
        ("x.obo", b"incoming_graph_data: x\n\n[Term]\nid: X:1\nname: a\nis_a: X:1\n"),
        ("x.obo", b"name:" + b" " * 100_000 + b"x" + b" " * 100_000 + b"y\n"),
        ("x.obo", b"\n[Term]\nid: X:1\nname: a" + b" " * 200_000 + b"b\n"),
        ("absent.obo", None),
    ],
)
def test_what_is_no_ontology_is_refused(tmp_path, name, data):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(EvaluationError) as caught:
        read_ontology(tmp_path / name)
    assert name in caught.value.problem
    assert caught.value.hint


def test_names_from_sure_to_unsure():
    found = Ontology(
        "test",
        [
            Term(id="X:1", label="B cell", synonyms=("shared", "B lymphocytes")),
            Term(id="X:2", label="b", synonyms=("shared",)),
            Term(id="X:3", label="gone", obsolete=True, replaced_by="X:4"),
            Term(id="X:4", label="here", obsolete=True, replaced_by="X:3"),
        ],
    )
    assert found.find("B  CELL") == 0  # the label itself, before its short form
    assert found.find("b") == 1
    assert found.find("B cells") is None  # "b" without "cells" would be either
    assert found.find("shared") is None
    assert found.find("b lymphocytes") == 0
    assert found.find("X:3") is None  # replaced in a circle
    assert found.label("X:1") == "B cell"
    assert found.label("anything") == "anything"


def test_the_guide_is_optional(tmp_path, monkeypatch):
    assert installed_ontology("NO-SUCH") is None
    package = tmp_path / "cellxgene_ontology_guide"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    for version in ("2025-02-13", "2026-03-26"):
        (package / "data" / f"CL-ontology-v{version}.json.zst").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_ontology("CL").name == "CL-ontology-v2026-03-26.json.zst"


def test_current_cell_ontology():
    pytest.importorskip("zstandard", reason="zstandard is not installed: c2t[evaluate]")
    found = read_ontology(shared("ontologies/CL-ontology-v2026-03-26.json.zst"))
    number = found.find("T lymphocyte")
    assert found.terms[number].id == "CL:0000084"
    assert found.find("natural killer cells") == found.find("CL:0000623")
    parents = {found.terms[parent].label for parent, child in found.edges if child == number}
    assert parents == {"lymphocyte"}
