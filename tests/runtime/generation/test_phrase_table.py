"""The automaton knows the longest context, and a damaged file is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from c2t.runtime.generation import phrase_table
from c2t.runtime.generation.drafts import NO_DRAFT, Draft, Drafter, common_length
from c2t.runtime.generation.ngram_ban import NgramBan
from c2t.runtime.generation.phrase_table import (
    ROOT,
    PhraseTable,
    build_phrase_table,
    load_phrase_table,
)
from c2t.runtime.system.errors import BundleError

CAPTIONS = [[1, 2, 3, 4, 5, 6], [1, 2, 7, 4, 5, 8], [1, 2, 3, 4, 5, 6]]


def draft(drafter: Drafter, text: list[int], ngram: int = 0, limit: int = 99) -> tuple[int, ...]:
    cursor, ban = drafter.begin(), NgramBan(ngram)
    for token in text:
        drafter.advance(cursor, token)
        ban.append(token)
    return drafter.propose(cursor, ban, limit).tokens


@pytest.fixture
def table() -> PhraseTable:
    return build_phrase_table(CAPTIONS * 30, [[20, 21, 22, 23]] * 30)


def test_counts_of_the_root_and_the_start(table: PhraseTable) -> None:
    edges = slice(table.first_edge[ROOT], table.first_edge[ROOT + 1])
    seen = dict(zip(table.token[edges].tolist(), table.count[edges].tolist(), strict=True))
    assert seen == {1: 90, 2: 90, 3: 60, 4: 90, 5: 90, 6: 60, 7: 30, 8: 30} | dict.fromkeys(
        range(20, 24), 30
    )
    assert (table.token >= 0).all()
    assert table.start != ROOT


def test_the_longest_context_decides(table: PhraseTable) -> None:
    drafter = Drafter(table)
    assert draft(drafter, [1, 2, 3]) == (4, 5, 6)
    assert draft(drafter, [1, 2, 7]) == (4, 5, 8)
    assert draft(drafter, [4])[:1] == (5,)
    assert draft(drafter, [])[:2] == (1, 2)


def test_a_fragment_is_recognised_anywhere(table: PhraseTable) -> None:
    assert draft(Drafter(table), [1, 2, 9, 9, 20]) == (21, 22, 23)


def test_unknown_text_has_no_draft(table: PhraseTable) -> None:
    assert draft(Drafter(table), [1, 2, 99]) == ()


def test_a_shallow_table_forgets(table: PhraseTable) -> None:
    shallow = Drafter(build_phrase_table(CAPTIONS * 30, depth=2))
    assert draft(shallow, [1, 2, 7, 4])[:1] == (5,)
    # 3 4 5 and 7 4 5 are told apart by three tokens, not by two.
    assert draft(shallow, [1, 2, 7, 4, 5]) == draft(shallow, [1, 2, 3, 4, 5])


def test_banned_tokens_are_not_proposed(table: PhraseTable) -> None:
    drafter = Drafter(table)
    assert draft(drafter, [1, 2, 3, 4, 5], ngram=0) == (6,)
    assert draft(drafter, [3, 4, 5, 6, 3, 4], ngram=3) == ()
    assert draft(drafter, [1, 2, 3, 1, 2], ngram=3)[:1] == (7,)


def test_limit(table: PhraseTable) -> None:
    assert draft(Drafter(table), [1, 2, 3], limit=2) == (4, 5)
    assert draft(Drafter(table), [1, 2, 3], limit=0) == ()


def test_disappointment_shortens_drafts_and_fades(table: PhraseTable) -> None:
    drafter = Drafter(table)
    cursor, ban = drafter.begin(), NgramBan(0)
    for token in (1, 2, 3):
        drafter.advance(cursor, token)
    before = drafter.propose(cursor, ban, 9)
    for _ in range(60):
        drafter.learn(drafter.propose(cursor, ban, 9), 0)
    after = drafter.propose(cursor, ban, 9)
    assert len(after.tokens) < len(before.tokens)
    for _ in range(1000):
        drafter.learn(type(after)(), 0)
    assert drafter.propose(cursor, ban, 9).tokens == before.tokens


def test_one_length_for_all_cells_of_a_step() -> None:
    sure = Draft((1,) * 8, (1.0,) * 8, (1.0,) * 8)
    unsure = Draft((1,) * 8, (0.2,) * 8, (0.2,) * 8)
    assert common_length([sure]) == 8
    assert common_length([NO_DRAFT]) == 0
    assert common_length([unsure]) == 8  # 0.2 tokens for 8 % of a step
    assert common_length([unsure] * 8) == 0  # for 22 % of a step of eight
    assert common_length([sure, NO_DRAFT]) == 8
    # One token more is not worth a step that costs twice as much, eight are.
    short = Draft((1,), (1.0,), (1.0,))
    assert common_length([short], multi_token_overhead=1.4) == 0
    assert common_length([sure], multi_token_overhead=1.4) == 8
    assert common_length([short, short], multi_token_overhead=1.4) == 1


def test_empty_table() -> None:
    empty = build_phrase_table([])
    assert empty.states == 1
    assert draft(Drafter(empty), [1, 2]) == ()


def test_saved_and_loaded(table: PhraseTable, tmp_path: Path) -> None:
    path = tmp_path / "phrases.npz"
    table.save(path)
    loaded = load_phrase_table(path, vocabulary=24)
    for name in ("first_edge", "token", "target", "count", "shorter"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(table, name))
    assert loaded.start == table.start
    with pytest.raises(BundleError, match="names a token that does not exist"):
        load_phrase_table(path, vocabulary=23)


def overflowing(first_edge: np.ndarray) -> np.ndarray:
    """Differences of these wrap round to numbers that are not negative."""
    changed = first_edge.copy()
    changed[1:4] = [2**31 - 1, -(2**31), -1]
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shorter": lambda a: np.arange(len(a), dtype=np.int32)}, "shorter context"),
        ({"target": lambda a: a + 10_000}, "names a state"),
        ({"count": lambda a: a * 0}, "not positive"),
        ({"count": lambda a: a[:-1]}, "do not fit"),
        ({"first_edge": lambda a: a[::-1].copy()}, "add up"),
        ({"first_edge": overflowing}, "out of order"),
        ({"count": lambda a: np.int32(1)}, "not one-dimensional"),
        ({"count": lambda a: a[None]}, "not one-dimensional"),
        ({"shorter": lambda a: np.int32(0)}, "not one-dimensional"),
        ({"token": lambda a: a.astype(np.float32)}, "not one-dimensional int32"),
        ({"token": lambda a: a.astype(object)}, "Object arrays cannot be loaded"),
    ],
)
def test_a_damaged_table_is_refused(
    table: PhraseTable, tmp_path: Path, change: dict, message: str
) -> None:
    ((name, damage),) = change.items()
    path = tmp_path / "phrases.npz"
    replace(table, **{name: damage(getattr(table, name))}).save(path)
    with pytest.raises(BundleError, match=message):
        load_phrase_table(path, vocabulary=24)


def test_not_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "phrases.npz"
    for content in (b"no archive", b"PK\x03\x04", b""):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="not a phrase table"):
            load_phrase_table(path, vocabulary=24)


def test_a_table_that_unpacks_to_too_much(
    table: PhraseTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "phrases.npz"
    replace(table, token=np.zeros(1_000_000, np.int32)).save(path)
    monkeypatch.setattr(phrase_table, "PHRASES_BYTES_MAX", 1_000_000)
    with pytest.raises(
        BundleError, match=r"unpacks to 4,\d+,\d+ bytes; at most 1,000,000 are read"
    ):
        load_phrase_table(path, vocabulary=24)
