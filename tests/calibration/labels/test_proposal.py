"""Names come before counts, counts decide one to one, and doubtful lines are not for use."""

from __future__ import annotations

import sys

import pytest

from c2t.calibration.labels.naming import Namer, Reason, Terms, words_key
from c2t.calibration.labels.proposal import propose_lines
from c2t.calibration.labels.scores import any_renamed, propose
from c2t.runtime.labels.ontology import Ontology, Term
from c2t.runtime.system.errors import EvaluationError

ONTOLOGY = Ontology(
    "cl.obo",
    [
        Term(id="CL:1", label="natural killer cell", synonyms=("NK cell",)),
        Term(id="CL:2", label="B cell"),
        Term(id="CL:3", label="CD19-positive B cell", synonyms=("CD19+ B",), parents=("CL:2",)),
        Term(id="CL:4", label="T cell"),
        Term(id="CL:5", label="platelet", synonyms=("thrombocyte",)),
    ],
)
TERMS = Terms(ontology=ONTOLOGY)


def cells(*groups: tuple[str | None, str | None, int]):
    """Own labels and said names of groups of cells."""
    own = [label for label, _, count in groups for _ in range(count)]
    return own, [name for _, name, count in groups for _ in range(count)]


def lines_of(*groups, terms: Terms | None = TERMS):
    return {line.label: line for line in propose_lines(*cells(*groups), terms)}


@pytest.mark.parametrize(
    ("label", "name", "reason"),
    [
        ("B", "B cell", Reason.same),
        ("b cells", "B cell", Reason.same),
        ("Platelets", "platelet", Reason.words),
        ("Natural-killer cells", "natural killer cell", Reason.words),
        ("NK", "natural killer cell", Reason.ontology),
        ("thrombocyte", "platelet", Reason.ontology),
        ("DC", "dendritic cell", Reason.short_form),
        ("pDCs", None, None),
        ("CD14+ Monocytes", "CD14-positive monocyte", Reason.short_form),
        ("CD14- Monocytes", None, None),
        ("Treg", "regulatory T cell", Reason.short_form),
        ("CD8 T", None, None),
        ("Cell", None, None),
    ],
)
def test_what_names_alone_say(label: str, name: str | None, reason: Reason | None) -> None:
    said = ["B cell", "platelet", "natural killer cell", "dendritic cell", "cytotoxic T cell"]
    found = Namer([*said, "CD14-positive monocyte", "regulatory T cell"], TERMS).find(label)
    assert (found and found.name, found and found.reason) == (name, reason)


def test_a_marker_without_is_no_marker_with() -> None:
    for one, other in (
        ("CD14+ monocytes", "CD14 monocyte"),
        ("CD25- T", "CD25 T"),
        ("a-/b", "a b"),
    ):
        assert words_key(one) != words_key(other)
    assert words_key("CD14-positive Monocytes") == words_key("cd14 positive monocyte")
    assert Namer(["CD4-positive T cell", "CD8-positive T cell"], TERMS).find("CD4 T") is None


def test_names_that_two_share_name_neither() -> None:
    assert Namer(["T-helper", "T helpers"], TERMS).find("T Helper cell") is None


def test_a_bundle_table_is_asked_after_the_ontology() -> None:
    ids = {"mono": "CL:9", "CD14-positive monocyte": "CL:9", "B": "unknown"}
    terms = Terms(ontology=ONTOLOGY, id_of=ids.get)
    found = Namer(["CD14-positive monocyte"], terms).find("mono")
    assert found is not None
    assert found.reason is Reason.ontology
    assert "CL:9 in the bundle's terms" in found.evidence
    assert terms.find("B cell") == ("CL:2", "cl.obo")
    assert terms.find("other") is None


def test_names_beat_counts() -> None:
    """A model that calls every B cell a T cell is wrong, whatever the counts say."""
    lines = lines_of(("B", "T cell", 90), ("B", "B cell", 10), ("alpha", "T cell", 30))
    assert (lines["B"].name, lines["B"].reason, lines["B"].share) == ("B cell", Reason.same, 0.1)
    assert (lines["B"].second, lines["B"].second_share) == ("T cell", 0.9)
    assert lines["alpha"].name == "T cell"
    assert lines["alpha"].reason is Reason.assignment


def test_the_assignment_is_the_best_one_to_one() -> None:
    # One after another, x would take "one" and leave y with nothing that its texts say much.
    lines = lines_of(
        ("x", "one", 60), ("x", "two", 50), ("y", "one", 55), ("y", "three", 1), terms=None
    )
    assert (lines["x"].name, lines["y"].name) == ("two", "one")
    assert lines["y"].use
    assert not lines["x"].use  # no more than half of its texts say it
    assert "50 of 110" in lines["x"].evidence
    assert (lines["x"].second, lines["x"].cells) == ("one", 110)


def test_many_to_one_is_left_to_the_user() -> None:
    lines = lines_of(("naive B", "B cell", 20), ("plasma", "B cell", 30), ("B", "B cell", 9))
    assert lines["B"].use
    for label in ("naive B", "plasma"):
        assert (lines[label].name, lines[label].use) == ("B cell", False)
        assert "yours to say" in lines[label].evidence


def test_terms_of_their_own_are_not_renamed() -> None:
    lines = lines_of(("T cell", "monster", 30), ("CD19+ B", "B cell", 20))
    assert (lines["T cell"].name, lines["T cell"].use) == ("monster", False)
    assert "a term of its own, CL:4" in lines["T cell"].evidence
    # A kind of what the texts say is no other thing.
    assert (lines["CD19+ B"].name, lines["CD19+ B"].use) == ("B cell", True)
    assert "CL:3, a kind of it" in lines["CD19+ B"].evidence


def test_labels_without_any_text() -> None:
    lines = lines_of(("x", None, 5), ("y", "one", 5), (None, "one", 9))
    assert (lines["x"].name, lines["x"].use, lines["x"].reason) == (None, False, Reason.none)
    assert set(lines) == {"x", "y"}
    assert propose(["", None][1:], ["one"], column="kind") is None


def test_scores_show_what_rests_on_the_counts() -> None:
    own, said = cells(("B", "B cell", 40), ("alpha", "T cell", 45), ("alpha", "B cell", 15))
    found = propose(own, said, column="kind", terms=TERMS)
    assert found is not None
    assert any_renamed(found)
    assert found.accuracy_as_is == pytest.approx(0.4)
    assert found.accuracy == pytest.approx(0.85)
    assert found.accuracy_named == pytest.approx(1.0)
    assert (found.assigned_labels, found.assigned_cells) == (1, pytest.approx(0.6))
    assert "assigned on these very cells" in found.sentence
    assert "85.0 % instead of 40.0 %" in found.sentence


def test_a_fit_by_chance_does_not_survive_the_other_half() -> None:
    """Texts that have nothing to do with the labels: one to one fits some of them."""
    import numpy as np

    rng = np.random.default_rng(1)
    own = [f"label {i}" for i in rng.integers(0, 12, 60)]
    said = [f"name {i}" for i in rng.integers(0, 12, 60)]
    found = propose(own, said, column="kind")
    assert found is not None
    from dataclasses import replace

    lines = [replace(line, use=True) for line in found.lines]
    fitted = sum(line.share * line.cells for line in lines) / len(own)
    assert fitted > found.accuracy_crossed + 0.1


def test_without_scipy_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(EvaluationError, match="needs scipy") as caught:
        propose_lines(["x"], ["one"])
    assert "c2t[evaluate]" in caught.value.hint
    assert propose_lines(["B"], ["B cell"])[0].use  # names alone need none


def test_right_names_need_no_map() -> None:
    found = propose(*cells(("B", "B cell", 5), ("T cell", "t cells", 5)), column="kind")
    assert found is not None
    assert not any_renamed(found)
    assert found.accuracy == found.accuracy_as_is == 1
