"""What captions say by the paper's rules: every decision of the template, and no guess."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import pytest

from c2t.runtime.fields import reader as fields_reader
from c2t.runtime.fields.caption import sentence_end
from c2t.runtime.fields.paper import ABBREVIATIONS, PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.rules import FIELD_NAMES

READER = FieldReader(PAPER_RULES)
CELL_TYPES = (
    "B cell",
    "endothelial cell of vascular tree",
    "CD4-positive, alpha-beta memory T cell, CD45RO-positive",
    "CD8+ αβ T cell (resting)",
    "T.4Nve.Sp cell",
    "pancreatic A cell",
)
TISSUES = ("blood", "mucosa of a stomach", "layer 4, left side", "Peyer's patch", "U.S. lung")
DONORS = (
    ("normal", None, None),
    ("normal", "female", "adulthood"),
    ("B-cell non-Hodgkin lymphoma, unspecified", "female", "adulthood"),
    ("St. Louis encephalitis", "male", None),
    ("infection with E. coli of a kidney", None, "the 10th week, roughly"),
)
DEFINITIONS = (
    "a lymphocyte of B lineage, with surface immunoglobulin",
    "A cell, that is in the blood. It consists of water",
    "any cell that originates from the neural crest. Found in a female with age",
)


def caption(cell_type: str, tissue: str, donor: tuple, definition: str = DEFINITIONS[0]) -> str:
    disease, sex, age = donor
    who = f"a normal {sex or 'donor'}" if disease == "normal" else f"a {sex or 'donor'}"
    state = "" if disease == "normal" else f" with {disease}"
    when = f" during {age}" if age else ""
    return (
        f"This sample consists of a {cell_type}, {definition}. It originates from the {tissue} of "
        f"{who}{state}{when}. This cell is associated with genes (v1, e.g. MYC). Additionally, it "
        "involves reply to TNF, 2.5 hours."
    )


def words(
    text: str | None, reader: FieldReader = READER, *, whole: bool = True
) -> dict[str, str | None]:
    found = reader.read(text, whole=whole)
    return {name: field and field.words for name, field in found.items()}


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_every_decision_is_found(definition: str) -> None:
    for cell_type, tissue, donor in itertools.product(CELL_TYPES, TISSUES, DONORS):
        found = READER.read(text := caption(cell_type, tissue, donor, definition))
        said = dict(zip(("disease", "sex", "age"), donor, strict=True))
        said |= {"cell_type": cell_type, "tissue": tissue}
        assert {name: found[name] and found[name].words for name in said} == said
        for name, value in said.items():
            assert value is None or [text[slice(*s)] for s in found[name].spans] == [value]
        assert found["pathways"].parts == ("genes (v1, e.g. MYC)", "reply to TNF, 2.5 hours")
        assert found["pathways"].words == "genes (v1, e.g. MYC); reply to TNF, 2.5 hours"


def test_letter_case_and_line_breaks_do_not_count() -> None:
    text = caption("B cell", "blood", DONORS[2])
    assert words(text.upper())["cell_type"] == "B CELL"
    assert words(text.upper())["disease"] == DONORS[2][0].upper()
    assert words(text.replace(". ", ".\n").replace(" of ", "\nof\t")) == words(text)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        # A name may hold commas: nothing says which comma ends it.
        ("This sample consists of a B cell, lymphocyte with receptors.", "cell_type"),
        ("This sample consists of a B cell, CD19-positive. It is.", "cell_type"),
        ("This sample consists of a pioneer neuron, Pioneers that die, a few live.", "cell_type"),
        # Two of them.
        ("This sample consists of a B cell. This sample consists of a T cell.", "cell_type"),
        # "of a" twice, and no word for a person that is known.
        ("It originates from the wall of an artery of a patient during youth.", "tissue"),
        ("It originates from the blood of a female with X during Y during Z.", "disease"),
        ("It originates from the blood of a female with X during Y during Z.", "age"),
        ("It originates from the blood of a normal female with lupus.", "disease"),
        ("It originates from the blood of a patient.", "sex"),
        ("It originates from the brain of a small core under control during Y.", "tissue"),
        ("It originates from the blood of a normal donor.", "sex"),
        ("It originates from the blood.", "tissue"),
    ],
)
def test_what_can_be_read_in_two_ways_is_not_said(text: str, field: str) -> None:
    assert words(text)[field] is None


def test_the_rest_of_such_a_sentence_is_said() -> None:
    found = words("It originates from the lung of a healthy patient with asthma during youth.")
    assert (found["tissue"], found["sex"]) == ("lung", None)
    assert (found["disease"], found["age"]) == ("asthma", "youth")


def test_known_names_decide() -> None:
    known = {
        "cell_type": ("B cell", "B cell, CD19-positive"),
        "disease": ("X during Y",),
        "tissue": ("wall of an artery",),
    }
    reader = FieldReader(PAPER_RULES.with_known(known))
    assert words("It consists of a B cell, lymphocyte.", reader)["cell_type"] == "B cell"
    longer = "It consists of a b-cell, CD19-positive, lymphocyte."
    assert words(longer, reader)["cell_type"] == "b-cell, CD19-positive"
    # The beginning of a name that is not known.
    other = "It consists of a B cell, CD20-positive, a lymphocyte."
    assert words(other, reader)["cell_type"] is None
    text = "It originates from the wall of an artery of a patient with X during Y during Z."
    found = words(text, reader)
    assert (found["tissue"], found["disease"], found["age"]) == (
        "wall of an artery",
        "X during Y",
        "Z",
    )


def test_a_text_that_was_cut_says_what_is_whole() -> None:
    whole = caption("naive T cell", "blood", DONORS[2])
    full = words(whole)
    for length in range(len(whole)):
        for name, value in words(whole[:length], whole=False).items():
            expected = {None, full[name]}
            if name == "pathways":  # one of the two, or both
                expected.add("genes (v1, e.g. MYC)")
            assert value in expected, whole[:length]
    cut = words(whole[: whole.index("adulthood") + 4])
    assert (cut["age"], cut["disease"], cut["sex"]) == (None, DONORS[2][0], "female")


def test_texts_of_another_kind_say_nothing() -> None:
    for text in ("Cell sentence: MALAT1 B2M TMSB4X", "", None, "consists of ", "." * 99, "\0" * 9):
        assert set(words(text).values()) == {None}
        assert tuple(words(text)) == FIELD_NAMES


def test_letters_that_grow_in_lower_case() -> None:
    text = caption("İ cell", "blood İİ", DONORS[1])
    assert words(text)["cell_type"] == "İ cell"
    assert words(text)["tissue"] == "blood İİ"


def test_long_texts_are_read_in_no_time() -> None:
    """Texts that can be read in very many ways end, and say nothing."""
    many = "It originates from the " + "x of a female with y during " * 2000 + "z."
    assert words(many)["tissue"] is None
    assert words("This sample consists of a " * 5000)["cell_type"] is None
    assert words("It consists of a " + "b, a " * 5000 + ".")["cell_type"] == "b"
    assert words("a." * 100_000)["cell_type"] is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("one. Two.", 3),
        ("one", None),
        ("St. Louis. X", 9),
        ("2.5 hours, e.g. now. Then", 19),
        ("E. coli.", 7),
        ("genes (v. 1. New). Then", 17),
        ("genes (v. 1. New", None),
        ("with vitamin A. It", 14),
        ("", None),
    ],
)
def test_ends_of_sentences(text: str, place: int | None) -> None:
    assert sentence_end(text, ABBREVIATIONS) == place


def test_threads_share_a_reader() -> None:
    texts = [caption(f"type {n} cell", f"tissue {n % 7}", DONORS[n % 5]) for n in range(300)]
    expected = [words(text) for text in texts]
    reader = FieldReader(PAPER_RULES)
    wrong = []

    def read() -> None:
        wrong.extend(t for t, e in zip(texts, expected, strict=True) if words(t, reader) != e)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_caption_that_was_read_before_says_the_same_but_for_its_confidence() -> None:
    reader = FieldReader(PAPER_RULES)
    text = caption(CELL_TYPES[0], TISSUES[0], DONORS[1])
    first = reader.read(text)
    second = reader.read(text, lambda spans: 0.25 * len(spans))
    assert first["cell_type"] == reader.read(text)["cell_type"] != second["cell_type"]
    for name, field in first.items():
        other = second[name]
        assert (field is None) == (other is None)
        if field is not None and other is not None:
            assert field.confidence is None
            assert other.confidence == 0.25 * len(field.spans)
            assert replace(other, confidence=None) == field
    # A text that stops in its middle is another reading of the same words.
    assert reader.read(text, whole=False)["pathways"] != first["pathways"]


def test_no_more_captions_are_kept_than_memory_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields_reader, "KEPT_CAPTIONS_MAX", 3)
    reader = FieldReader(PAPER_RULES)
    for tissue in TISSUES:
        text = caption(CELL_TYPES[0], tissue, DONORS[1])
        assert reader.read(text) == FieldReader(PAPER_RULES).read(text) == reader.read(text)
        assert len(reader._kept_captions) <= 3
    reader.read("It originates from the " + "deep " * fields_reader.KEPT_CHARACTERS_MAX)
    assert all(len(text) < 1000 for text, _ in reader._kept_captions)
