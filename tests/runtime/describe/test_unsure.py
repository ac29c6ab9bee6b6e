"""Cells are marked by the bundle's rule or the user's threshold, and nothing is invented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_data import BUNDLES, tiny_cell
from unsure_rules import bundle_with, make_rule

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer, check_options
from c2t.runtime.describe.unsure import UnsureMark, other_settings, unsure_mark
from c2t.runtime.system.errors import C2TError

SHORT = DescribeOptions(threads=1, max_new_tokens=4)


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return open_bundle(BUNDLES["mlp"])


@pytest.fixture(scope="module")
def stating(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("stating") / "bundle"
    return open_bundle(bundle_with(make_rule(), BUNDLES["mlp"], folder))


def test_who_sets_the_threshold(plain: Bundle, stating: Bundle) -> None:
    assert unsure_mark(plain, None) is None
    assert unsure_mark(plain, 0.8) == UnsureMark(below=0.8, rule=None)
    rule = stating.unsure_rule
    for own in (None, "auto"):
        assert unsure_mark(stating, own) == UnsureMark(below=0.3, rule=rule)
    assert unsure_mark(stating, 0) == UnsureMark(below=0.0, rule=rule)
    assert unsure_mark(stating, 1) == UnsureMark(below=1.0, rule=rule)


@pytest.mark.parametrize("below", ["auto", "often", 1.01, -0.1, float("nan")])
def test_thresholds_that_cannot_be_are_refused(plain: Bundle, below: float | str) -> None:
    with pytest.raises(C2TError) as caught:
        check_options(plain, replace(SHORT, unsure_below=below))
    assert caught.value.hint
    with pytest.raises(C2TError):
        Describer(plain, replace(SHORT, unsure_below=below))


def test_marks_of_a_rule_and_of_the_confidence_itself() -> None:
    ruled, bare = UnsureMark(below=0.3, rule=make_rule()), UnsureMark(below=0.6, rule=None)
    for confidence, probability, unsure in ((0.5, 0.25, True), (0.6, 0.3, False), (1, 0.5, False)):
        assert ruled.probability(confidence) == pytest.approx(probability)
        assert ruled.is_unsure(confidence) is unsure
        assert bare.probability(confidence) is None
        assert bare.is_unsure(confidence) is unsure
    for mark in (ruled, bare):  # a text that names no cell type has no sure answer
        assert mark.probability(None) is None
        assert mark.is_unsure(None)
    assert not UnsureMark(below=0.0, rule=make_rule()).is_unsure(0.0)


def test_descriptions_carry_the_mark(plain: Bundle, stating: Bundle) -> None:
    cells = EncodedCells.of_tokens([tiny_cell(20).tolist(), tiny_cell(9, seed=1).tolist()])
    bare = list(Describer(plain, SHORT).describe([cells]))
    assert [(d.cell_type_probability, d.unsure) for d in bare] == [(None, None)] * 2
    marked = list(Describer(stating, SHORT).describe([cells]))
    assert [d.text for d in marked] == [d.text for d in bare]
    # Random weights name no cell type.
    assert [(d.cell_type_probability, d.unsure) for d in marked] == [(None, True)] * 2


def test_a_cell_type_gets_its_probability(stating: Bundle, monkeypatch) -> None:
    from c2t.runtime.describe.worker import Worker
    from c2t.runtime.fields.reader import Field

    sure = iter((0.9, 0.2))
    monkeypatch.setattr(
        Worker,
        "_read_fields",
        lambda *_, **__: {"cell_type": Field(words="B cell", confidence=next(sure))},
    )
    cells = EncodedCells.of_tokens([tiny_cell(20).tolist(), tiny_cell(9, seed=1).tolist()])
    marked = list(Describer(stating, SHORT).describe([cells]))
    assert sorted((d.cell_type_probability, d.unsure) for d in marked) == [
        (pytest.approx(0.1), True),
        (pytest.approx(0.45), False),
    ]


def test_other_settings_are_told(plain: Bundle) -> None:
    mark, generation = UnsureMark(below=0.3, rule=make_rule()), plain.manifest.generation
    fitted = replace(generation, num_beams=1, no_repeat_ngram_size=0)
    assert other_settings(mark, fitted) is None
    warning = other_settings(mark, replace(fitted, num_beams=4))
    assert warning is not None
    assert "num_beams 1" in warning
    assert other_settings(UnsureMark(below=0.3, rule=None), replace(fitted, num_beams=4)) is None


def test_sentences_say_what_is_compared(tmp_path: Path) -> None:
    rule = make_rule()
    assert "bundle's own threshold" in UnsureMark(below=0.3, rule=rule).sentence
    assert "bundle's own" not in UnsureMark(below=0.4, rule=rule).sentence
    assert "states no probabilities" in UnsureMark(below=0.3, rule=None).sentence
