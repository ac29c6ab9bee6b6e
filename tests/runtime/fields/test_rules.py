"""Rules are read strictly: what could not be followed is refused when the bundle is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from more_files import bundle_with
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.fields.open import open_fields
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.rules import (
    RULES_NAME,
    RULES_VERSION,
    FieldRules,
    read_rules,
    rules_bytes,
)
from c2t.runtime.fields.terms import TERMS_NAME, make_table
from c2t.runtime.system.errors import BundleError

OTHER = {
    "version": 1,
    "sentences": [
        {
            "begins": ["Type: "],
            "steps": [
                {"field": "cell_type"},
                {"after": [" | "]},
                {"field": "sex", "only": {"F": "female", "M": "male", "?": None}},
            ],
        }
    ],
}


NO_RULES = FieldRules(version=RULES_VERSION, sentences=())


def written(folder: Path, rules: Any) -> Path:
    path = folder / RULES_NAME
    path.write_bytes(rules if isinstance(rules, bytes) else json.dumps(rules).encode())
    return path


def test_rules_come_back_as_they_were_written(tmp_path: Path) -> None:
    for rules in (PAPER_RULES, NO_RULES, PAPER_RULES.with_known({"tissue": ("lung",)})):
        assert read_rules(written(tmp_path, rules_bytes(rules))) == rules
    assert NO_RULES.fields == ()
    assert FieldReader(NO_RULES).read("This sample consists of a B cell.") == {}


def test_a_model_of_another_kind_has_rules_of_its_own(tmp_path: Path) -> None:
    reader = FieldReader(read_rules(written(tmp_path, OTHER)))
    assert reader.names == ("cell_type", "sex")
    found = reader.read("Type: T cell, CD8+ | F.")
    assert {name: field and field.words for name, field in found.items()} == {
        "cell_type": "T cell, CD8+",
        "sex": "female",
    }
    assert reader.read("Type: T cell | ?.")["sex"] is None
    assert reader.read("This sample consists of a B cell.")["cell_type"] is None


def test_an_empty_beginning_is_that_of_the_text(tmp_path: Path) -> None:
    """As of a model that answers with a name alone."""
    answer = {"begins": [""], "steps": [{"after": [" ", ""], "field": "cell_type"}]}
    reader = FieldReader(read_rules(written(tmp_path, changed("sentences", to=[answer]))))
    said = {
        " CD4-positive, alpha-beta T cell.": "CD4-positive, alpha-beta T cell",
        "B cell. It is one.": "B cell",
        " B cell": None,  # it may be half of a name
        "": None,
    }
    for text, words in said.items():
        field = reader.read(text)["cell_type"]
        assert (field and field.words) == words


def test_a_name_alone_that_ends_with_the_text(tmp_path: Path) -> None:
    """As of a model that writes no full stop; where its text was cut, nothing is said."""
    answer = {"begins": [""], "steps": [{"field": "cell_type"}], "ends_with_text": True}
    reader = FieldReader(read_rules(written(tmp_path, changed("sentences", to=[answer]))))
    for text, words in {
        "CD14+ monocyte": "CD14+ monocyte",
        "B cell. ": "B cell",
        " ": None,
    }.items():
        field = reader.read(text)["cell_type"]
        assert (field and field.words) == words
    assert reader.read("CD14+ mono", whole=False)["cell_type"] is None
    assert reader.read("CD14+.", whole=False)["cell_type"] is None


def changed(*path: Any, to: Any) -> dict[str, Any]:
    rules = json.loads(json.dumps(OTHER))
    place = rules
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return rules


STEPS = ("sentences", 0, "steps")
WRONG = [
    b"",
    b"{",
    b"[]",
    b'{"version": 1}',
    b"\xff\xfe",
    b"[" * 100_000,
    changed("sentence", to=[]),
    changed("sentences", to={}),
    changed("sentences", 0, "begins", to=[]),
    changed("sentences", 0, "begins", to=["", "Type: "]),
    changed("sentences", 0, "begins", to=["x" * 1000]),
    changed("sentences", 0, "regex", to="(a+)+$"),
    changed(*STEPS, to=[]),
    changed(*STEPS, to=[{"after": ["x"]}]),  # says nothing
    changed(*STEPS, to=[{}, {"field": "sex"}]),
    changed(*STEPS, 0, "field", to="colour"),
    changed(*STEPS, 0, "pattern", to=".*"),
    changed(*STEPS, 0, "ends", to=[","]),  # of a step that is not the last
    changed(*STEPS, 1, to={"field": "tissue"}),  # where would the cell type end?
    changed(*STEPS, 1, to={"after": [" | ", ""]}),
    changed(*STEPS, 1, "after", to=["", "x"]),
    changed(*STEPS, 1, "means", to="normal"),  # of which field?
    changed(*STEPS, 2, "only", to={}),
    changed(*STEPS, 2, "only", to={"F": 5}),
    changed(*STEPS, 2, "ends", to=["."]),
    changed(*STEPS, 2, "means", to="female"),
    changed("known", to={"colour": ["red"]}),
    changed("known", to={"tissue": ["x" * 1000]}),
    changed("sentences", to=OTHER["sentences"] * 100),
]


@pytest.mark.parametrize("rules", WRONG, ids=range(len(WRONG)))
def test_rules_that_cannot_be_followed_are_refused(rules: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=RULES_NAME) as caught:
        read_rules(written(tmp_path, rules))
    assert caught.value.hint


def test_hostile_rules_end_soon(tmp_path: Path) -> None:
    """Rules that fit a text in 64 to the 14th ways, but never to its end."""
    names = ("cell_type", "tissue", "disease", "age")
    steps = [{"after": [" "], "field": names[n % 4], "optional": True} for n in range(15)]
    last = {"after": ["never"], "field": "sex", "only": {"x": None}}
    rules = changed("sentences", 0, to={"begins": ["It is"], "steps": [*steps, last]})
    reader = FieldReader(read_rules(written(tmp_path, rules)))
    assert set(reader.read("It is" + " a" * 60 + " never.").values()) == {None}


def test_rules_of_a_newer_form_and_large_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="this c2t reads form 1"):
        read_rules(written(tmp_path, {**OTHER, "version": RULES_VERSION + 1, "more": {}}))
    with pytest.raises(BundleError, match="at most"):
        read_rules(written(tmp_path, b" " * (9 << 20)))


def test_a_bundle_without_rules_is_read_by_the_papers() -> None:
    reader = open_fields(open_bundle(BUNDLES["mlp"]))
    assert (reader.rules, reader.own, reader.terms) == (PAPER_RULES, False, None)


def test_a_bundles_own_rules_and_names(tmp_path: Path) -> None:
    table = make_table({("cell_type", "t cell"): "CL:0000084"})
    table.save(tmp_path / TERMS_NAME)
    bundle = bundle_with(
        tmp_path / "bundle",
        {
            RULES_NAME: json.dumps(OTHER).encode(),
            TERMS_NAME: (tmp_path / TERMS_NAME).read_bytes(),
        },
    )
    describer = Describer(bundle, DescribeOptions(threads=1, engine="cpu"))
    assert describer.fields.own
    found = describer.fields.read("Type: T cells | M.")
    assert found["cell_type"].ontology_id == "CL:0000084"
    assert found["sex"].ontology_id is None  # the table has no names of sexes
    assert describer.fields.read("Type: X | M.")["cell_type"].ontology_id == "unknown"
    (said,) = describer.describe([EncodedCells.of_tokens(((2, 10, 11, 12, 3),))])
    assert said.text
    assert said.fields == {"cell_type": None, "sex": None}


def test_a_bundle_with_damaged_rules_or_names_is_refused_before_the_work(tmp_path: Path) -> None:
    options = DescribeOptions(threads=1, engine="cpu")
    bundle = bundle_with(tmp_path / "a", {RULES_NAME: b"{}"})
    with pytest.raises(BundleError, match=RULES_NAME):
        Describer(bundle, options)
    bundle = bundle_with(tmp_path / "b", {TERMS_NAME: b"PK\5\6" + b"\0" * 18})
    with pytest.raises(BundleError, match=TERMS_NAME):
        Describer(bundle, options)
