"""Descriptions are the same, whether native code or Python writes texts between two steps."""

from __future__ import annotations

import pytest
from tiny_data import sentence_bundle, tiny_bundle, tiny_cell

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.generation.native_turns import NativeTurns


class InPython:
    """Native turns that are never possible."""

    def __init__(self, *_: object, **__: object) -> None:
        raise LookupError


@pytest.mark.parametrize("sentences", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_descriptions_are_the_same(
    monkeypatch: pytest.MonkeyPatch, sentences: bool, batch_size: int
) -> None:
    cells = EncodedCells.of_tokens([tiny_cell(5 + seed % 20, seed) for seed in range(50)])
    bundle: Bundle = sentence_bundle() if sentences else tiny_bundle().bundle

    def described() -> list[Description]:
        options = DescribeOptions(threads=1, batch_size=batch_size, engine="cpu")
        return list(Describer(bundle, options).describe([cells]))

    taken: list[int] = []
    take = NativeTurns.take
    with monkeypatch.context() as patch:
        patch.setattr(NativeTurns, "take", lambda *given: taken.append(1) or take(*given))
        found = described()
    assert taken
    monkeypatch.setattr("c2t.runtime.generation.greedy.NativeTurns", InPython)
    assert described() == found
    assert all(description.text for description in found)
