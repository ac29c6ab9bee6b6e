"""The phrase table knows what captions name; strange labels are said, and never mapped."""

from __future__ import annotations

import pytest
from tiny_data import tiny_bundle

from c2t.runtime.bundle.text_encoder import open_encoder
from c2t.runtime.describe.caption_names import CaptionNames, cell_type_place, doubts
from c2t.runtime.fields.paper import CELL_TYPE, ORIGIN, PAPER_RULES
from c2t.runtime.fields.rules import FieldRules, Sentence, Step
from c2t.runtime.generation.candidate_names import NamePlace, candidate_names
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.system.errors import BundleError

CAPTIONS = (
    "This sample consists of a B cell, a lymphocyte with antigen receptors. It originates from it.",
    "This sample consists of a CD14-positive monocyte, a phagocyte. It originates from the blood.",
    "This sample consists of an erythrocyte. It originates from the blood of a normal donor.",
    "This sample consists of a CD4-positive, alpha-beta T cell, a lymphocyte. It is there.",
)


def known(captions: tuple[str, ...] = CAPTIONS) -> CaptionNames:
    bundle = tiny_bundle().bundle
    encoder = open_encoder(bundle.file("tokenizer.json"))
    table = build_phrase_table([(*encoder.encode(caption), 6) for caption in captions])
    return CaptionNames(table, bundle, NamePlace())


def test_names_of_captions() -> None:
    assert sorted(known().all()) == [
        "B cell",
        "CD14-positive monocyte",
        "CD4-positive",  # a comma ends a field here; that is only a hint's text
        "erythrocyte",
    ]


def test_strange_labels_are_named_with_the_nearest() -> None:
    labels = ["B cell", "CD14+ monocyte", "erythrocyte", "CD4-positive, alpha-beta T cell", "xyz"]
    names = candidate_names(tiny_bundle().bundle, labels)
    assert known().says(names) == [True, False, True, True, False]
    (doubt,) = doubts(names, known())
    assert "2 of 5 labels" in doubt
    assert "'CD14+ monocyte' (captions say 'CD14-positive monocyte'); 'xyz'" in doubt
    assert doubts(candidate_names(tiny_bundle().bundle, labels[:1]), known()) == []
    assert doubts(names, None) == []


def test_names_that_the_rules_list() -> None:
    names = candidate_names(tiny_bundle().bundle, ["B cell", "B cells", "platelet"])
    listed = CaptionNames(None, tiny_bundle().bundle, NamePlace(), ["B cell", "macrophage"])
    assert listed.says(names) == [True, False, False]
    (doubt,) = doubts(names, listed)
    assert "'B cells' (captions say 'B cell')" in doubt
    assert listed.all() == ["B cell", "macrophage"]


@pytest.mark.parametrize(
    ("label", "listed", "meant"),
    [
        ("T cell", ["B cell", "NK cell"], None),
        ("T cell", ["B cell", "naive T cell"], "naive T cell"),
        ("CD8+ T cells", ["CD4-positive T cell", "T cell"], "T cell"),
        ("CD14+ Mono", ["CD14-positive monocyte", "CD16-positive monocyte"], "CD14-positive mono"),
        ("CD16- monocyte", ["CD16-positive monocyte"], None),
        ("plasma cell", ["plasmacytoid dendritic cell"], None),
        ("non-classical monocyte", ["classical monocyte"], None),
        ("CD1+ monocyte", ["CD14-positive monocyte"], None),
        ("cell", ["B cell"], None),
    ],
)
def test_only_names_that_may_mean_it_are_near(
    label: str, listed: list[str], meant: str | None
) -> None:
    names = candidate_names(tiny_bundle().bundle, [label])
    (doubt,) = doubts(names, CaptionNames(None, tiny_bundle().bundle, NamePlace(), listed))
    assert doubt.startswith("the label is not among the names")
    assert ("captions say" in doubt.partition("badly")[2]) == (meant is not None)
    assert meant is None or f"captions say '{meant}" in doubt


def test_the_place_by_the_papers_rules() -> None:
    assert cell_type_place(PAPER_RULES) == NamePlace()


def test_the_place_by_other_rules() -> None:
    other = Sentence(
        begins=("Cell type: ",), steps=(Step(field="cell_type", after=("",), ends=(" in ",)),)
    )
    rules = FieldRules(version=1, sentences=(other,))
    assert cell_type_place(rules) == NamePlace(
        opening="Cell type:", articles=("",), ends=(" ", ".")
    )


def test_captions_without_a_cell_type_first_are_refused() -> None:
    with pytest.raises(BundleError, match="do not begin with the name of a cell type"):
        cell_type_place(FieldRules(version=1, sentences=()))
    with pytest.raises(BundleError, match="do not begin with the name of a cell type"):
        cell_type_place(FieldRules(version=1, sentences=(ORIGIN, CELL_TYPE)))


def test_many_strange_labels_are_counted() -> None:
    names = candidate_names(tiny_bundle().bundle, [f"q{number}" for number in range(9)])
    (doubt,) = doubts(names, known())
    assert doubt.endswith("and 4 more")


def test_captions_with_another_opening_are_refused() -> None:
    with pytest.raises(BundleError, match="do not begin with 'This sample consists of'"):
        known(("Cell type: B cell. It is there.",))
