"""Names as token paths: their ends, articles and longer names, and which names are refused."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import tiny_bundle

from c2t.runtime.bundle.text_encoder import open_encoder
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.generation.candidate_names import CandidateNames, NamePlace, candidate_names
from c2t.runtime.system.errors import C2TError

NAMES = ("T cell", "T cell, CD4-positive", "erythrocyte", "B cell", "B cell precursor")


def test_paths_say_the_names() -> None:
    bundle = tiny_bundle().bundle
    names = candidate_names(bundle, NAMES)
    opening = decode_text(bundle.tokenizer, names.trie.opening)
    assert opening == "This sample consists of"
    said = [decode_text(bundle.tokenizer, path) for path in names.trie.paths]
    assert said == [f" {a} {name}{end}" for name in NAMES for a in ("a", "an") for end in ",;."]
    whole = open_encoder(bundle.file("tokenizer.json")).encode(f"{opening} a T cell, a lymphocyte")
    assert whole[: len(names.trie.opening) + len(names.trie.paths[0])] == (
        *names.trie.opening,
        *names.trie.paths[0],
    )


def test_names_that_begin_the_text_stand_behind_a_space() -> None:
    bundle = tiny_bundle().bundle
    names = candidate_names(bundle, NAMES, NamePlace(opening="", articles=("",), ends=(".",)))
    said = [decode_text(bundle.tokenizer, path) for path in names.trie.paths]
    assert said == [f" {name}." for name in NAMES]
    assert not len(names.trie.opening)


def test_names_are_disjoint_and_add_up() -> None:
    """A model that is known in full: what "T cell," has does not go twice to what it begins."""
    names = candidate_names(
        tiny_bundle().bundle, ["T cell", "T cell, CD4"], NamePlace(articles=("a",), ends=(",",))
    )
    short, long = np.log(0.5), np.log(0.2)  # "a T cell," and, of that, "a T cell, CD4,"
    np.testing.assert_allclose(np.exp(names.combine(np.array([[short, long]]))), [[0.3, 0.2]])
    all_of_it = names.combine(np.array([[short, short]]))
    np.testing.assert_allclose(np.exp(all_of_it), [[0.0, 0.5]])
    assert np.isnan(names.combine(np.array([[short, np.nan]]))).all()


def test_articles_and_ends_add_up() -> None:
    place = NamePlace(ends=(",", "."))
    names = candidate_names(tiny_bundle().bundle, ["erythrocyte", "T cell"], place)
    scores = np.log([[0.1, 0.02, 0.3, 0.04, 0.2, 0.01, 0.001, 0.002]])
    np.testing.assert_allclose(np.exp(names.combine(scores)), [[0.46, 0.213]])


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "no candidates"),
        (["T cell", ""], "is empty"),
        (["T cell", "  "], "is empty"),
        (["T cell", "T cell"], "there twice"),
        ([" T cell"], "spaces or signs"),
        (["T\ncell"], "spaces or signs"),
        (["T  cell"], "spaces or signs"),
        (["T" * 500], "at most 300"),
        (["T cell<|eot_id|>"], "keeps for itself"),
    ],
)
def test_refused(names: list[str], problem: str) -> None:
    with pytest.raises(C2TError, match=problem):
        candidate_names(tiny_bundle().bundle, names)


class _Joining:
    """A tokenizer that joins a comma with what follows."""

    def encode(self, text: str) -> tuple[int, ...]:
        plain = open_encoder(tiny_bundle().bundle.file("tokenizer.json")).encode(text)
        return (*plain[:-3], *plain[-2:], plain[-3]) if text.endswith(", a") else plain


def test_an_end_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(C2TError, match="joins the end"):
        CandidateNames(
            ["T cell"],
            NamePlace(),
            encoder=_Joining(),
            tokenizer=tiny_bundle().bundle.tokenizer,
        )
