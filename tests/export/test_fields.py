"""Rules and names go into a bundle: learned from captions, given as files, or refused early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shared_data import shared

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.field_rules import field_rules, learned_rules
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.export.term_table import term_table
from c2t.runtime.fields.names import plain_name
from c2t.runtime.fields.open import open_fields
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.rules import RULES_NAME, RULES_VERSION, FieldRules, rules_bytes
from c2t.runtime.fields.terms import TERMS_NAME, load_terms, split_id
from c2t.runtime.system.errors import C2TError, CheckpointError

CAPTIONS = [
    (
        "This sample consists of a B cell, a lymphocyte. It originates from the blood of a normal "
        "patient during adulthood."
    ),
    (
        "This sample consists of a T cell, CD8-high, a lymphocyte. It originates from the wall of "
        "an artery of a patient with asthma, acute. This cell is associated with growth."
    ),
    "a stretch of a definition, with a comma",
] * 5
OBO = """format-version: 1.2

[Term]
id: CL:0000542
name: lymphocyte

[Term]
id: CL:0000084
name: T cell
synonym: "T-lymphocyte" EXACT []
synonym: "shared" EXACT []
synonym: "B cell" EXACT []
synonym: "thing" RELATED []
is_a: CL:0000542 ! lymphocyte

[Term]
id: CL:0000236
name: B cell
synonym: "shared" EXACT []
is_a: CL:0000542 ! lymphocyte

[Term]
id: CL:0000001
name: obsolete cell
synonym: "old cell" EXACT []
is_obsolete: true
replaced_by: CL:0000084

[Term]
id: UBERON:0000178
name: blood

[Term]
id: GO:0000001
name: inheritance
"""


@pytest.fixture
def obo(tmp_path: Path) -> Path:
    path = tmp_path / "terms.obo"
    path.write_text(OBO)
    return path


def own(folder: Path, names: Any, name: str = "own.json") -> Path:
    path = folder / name
    path.write_text(names if isinstance(names, str) else json.dumps(names))
    return path


def test_rules_learn_the_names_that_captions_use() -> None:
    rules = learned_rules(CAPTIONS)
    assert rules is not None
    assert rules.known == {
        "cell_type": ("B cell", "T cell, CD8-high"),
        "tissue": ("blood", "wall of an artery"),
        "disease": ("asthma, acute", "normal"),
        "age": ("adulthood",),
    }
    # "patient" is a word for a person, as in the captions, and says nothing of a sex.
    found = FieldReader(rules).read("It originates from the lid of an eye of a patient with X.")
    assert found["tissue"].words == "lid of an eye"
    assert found["sex"] is None
    assert FieldReader(rules).read(CAPTIONS[0].replace("patient", "male"))["sex"].words == "male"


def test_captions_of_another_kind_teach_nothing(tmp_path: Path) -> None:
    assert learned_rules(["Cell sentence: MALAT1 B2M", "a lymphocyte"]) is None
    assert field_rules(None, None) is None
    path = tmp_path / RULES_NAME
    none = FieldRules(version=RULES_VERSION, sentences=())
    path.write_bytes(rules_bytes(none))
    assert field_rules(path, None) == none
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=RULES_NAME):
        field_rules(path, None)


def test_names_beat_synonyms_and_what_is_shared_or_obsolete_is_left_out(obo: Path) -> None:
    table, counts = term_table([obo])
    ids = {n: table.id_of("cell_type", n) for n in ("T cells", "t lymphocyte", "b-cell")}
    assert ids == {"T cells": "CL:0000084", "t lymphocyte": "CL:0000084", "b-cell": "CL:0000236"}
    for name in ("shared", "thing", "old cell", "obsolete cell", "inheritance", "blood"):
        assert table.id_of("cell_type", name) == "unknown"
    assert table.id_of("tissue", "blood") == "UBERON:0000178"
    assert table.id_of("disease", "normal") == "PATO:0000461"
    assert table.id_of("sex", "female") == "PATO:0000383"
    assert table.id_of("age", "adulthood") is None
    assert (counts.shared, counts.obsolete) == (1, 1)


def test_a_table_without_diseases_says_nothing_of_them(obo: Path, tmp_path: Path) -> None:
    table, _ = term_table([obo])
    table.save(tmp_path / TERMS_NAME)
    for made in (table, load_terms(tmp_path / TERMS_NAME)):
        assert made.id_of("disease", "asthma") is None
        assert made.id_of("disease", "normal") == "PATO:0000461"
        assert made.knows("disease", "normal")
        assert made.id_of("sex", "unheard of") == "unknown"
    with_diseases, _ = term_table([obo, own(tmp_path, {"disease": {"asthma": "MONDO:0004979"}})])
    assert with_diseases.id_of("disease", "asthma") == "MONDO:0004979"
    assert with_diseases.id_of("disease", "influenza") == "unknown"
    assert with_diseases.id_of("disease", "normal") == "PATO:0000461"


def test_own_names_go_before_an_ontologys(obo: Path, tmp_path: Path) -> None:
    first = own(tmp_path, {"cell_type": {"T cell": "CL:0000625", "naive T cells": "CL:0000898"}})
    second = own(tmp_path, {"cell_type": {"T cell": "CL:0000001"}}, "second.json")
    table, _ = term_table([obo, first, second])
    assert table.id_of("cell_type", "T cell") == "CL:0000625"
    assert table.id_of("cell_type", "naive T cell") == "CL:0000898"
    assert table.id_of("cell_type", "B cell") == "CL:0000236"


@pytest.mark.parametrize(
    "names",
    [
        "",
        "[]",
        "{",
        {},
        {"colour": {"red": "CL:0000001"}},
        {"cell_type": {"T cell": "T:1"}},
        {"cell_type": {"T cell": 5}},
        {"cell_type": ["T cell"]},
        {"cell_type": {"T cell": "CL:0000084", "t-cells": "CL:0000001"}},
        {
            "GO:0000001": {"label": "x", "ancestors": {"GO:0000002": 1}},
            "GO:0000002": {"label": "y"},
        },
    ],
    ids=str,
)
def test_files_that_give_no_names_are_refused(names: Any, tmp_path: Path) -> None:
    with pytest.raises(C2TError, match=r"own\.json") as caught:
        term_table([own(tmp_path, names)])
    assert caught.value.hint


def test_every_name_of_the_real_ontologies_gets_its_own_id(tmp_path: Path) -> None:
    from c2t.runtime.labels.ontology_file import read_ontology

    files = sorted(shared("ontologies").glob("*-ontology-*.json.zst"))
    table, counts = term_table(files)
    table.save(tmp_path / TERMS_NAME)
    assert (tmp_path / TERMS_NAME).stat().st_size < 2 << 20
    table = load_terms(tmp_path / TERMS_NAME)
    assert counts.names == len(table) > 100_000
    fields = {"CL": "cell_type", "UBERON": "tissue", "MONDO": "disease", "HsapDv": "age"}
    labels: dict[tuple[str, str], set[str]] = {}
    obsolete = set()
    for file in files:
        for term in read_ontology(file).terms:
            parts = split_id(term.id)
            field = fields.get(parts[0]) if parts else None
            if field is None:
                continue
            if term.obsolete:
                obsolete.add(term.id)
            else:
                labels.setdefault((field, plain_name(term.label)), set()).add(term.id)
    assert len(obsolete) == counts.obsolete
    for (field, name), ids in labels.items():
        found = table.id_of(field, name)
        assert found == (next(iter(ids)) if len(ids) == 1 else "unknown")
        assert found not in obsolete


def test_an_export_writes_them(tiny_checkpoint_folder: Path, tmp_path: Path, obo: Path) -> None:
    phrases = tmp_path / "captions.txt"
    phrases.write_text("\n".join(CAPTIONS))
    checkpoint = CheckpointOptions(
        folder=tiny_checkpoint_folder, max_new_tokens=4, phrases=phrases, ontology=[obo]
    )
    said: list[str] = []
    options = ExportOptions(output=tmp_path / "out", checkpoint=checkpoint)
    bundle = export_bundle(options, report=said.append)
    assert {RULES_NAME, TERMS_NAME} <= bundle.manifest.files.keys()
    assert {"phrases.txt", "terms.obo"} <= bundle.manifest.origin.files.keys()
    reader = open_fields(bundle)
    assert reader.own
    found = reader.read(CAPTIONS[0])
    assert (found["cell_type"].words, found["cell_type"].ontology_id) == ("B cell", "CL:0000236")
    assert reader.read(CAPTIONS[1])["cell_type"].ontology_id == "unknown"
    assert any(line.startswith("captions say cell_type, tissue") for line in said)
    assert any("1 that several terms share, and 1 obsolete" in line for line in said)


def test_without_captions_a_bundle_has_no_rules_of_its_own(tiny_bundle_folder: Path) -> None:
    assert not (tiny_bundle_folder / RULES_NAME).exists()
    assert not (tiny_bundle_folder / TERMS_NAME).exists()


@pytest.mark.parametrize("option", ["fields", "ontology"])
def test_wrong_files_are_refused_before_a_weight_is_read(
    tiny_checkpoint_folder: Path, tmp_path: Path, option: str
) -> None:
    path = own(tmp_path, {"wrong": []})
    given = {option: [path] if option == "ontology" else path}
    (tmp_path / "place").mkdir()
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder, **given)
    with pytest.raises(C2TError, match=r"own\.json"):
        export_bundle(ExportOptions(output=tmp_path / "place" / "out", checkpoint=checkpoint))
    assert not list((tmp_path / "place").iterdir())


def test_the_papers_rules_have_no_names_of_a_model() -> None:
    assert not PAPER_RULES.known
