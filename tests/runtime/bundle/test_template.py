"""Prompts that are texts: filled once, and made into tokens as a whole."""

from __future__ import annotations

import pytest

from c2t.runtime.bundle.template import FixedIds, TextPart, VectorPlace, fill_template
from c2t.runtime.system.errors import C2TError


class Letters:
    """A token for each letter."""

    def encode_letters(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))


def test_a_template_is_filled_once() -> None:
    template = (
        FixedIds(ids=(1, 2)),
        TextPart(text="{count}{x {genes}", longest=20),
        VectorPlace(),
        TextPart(text="b", longest=1),
    )
    values = {"count": "2", "genes": "{count}"}  # what is filled in has no fields
    spans = fill_template(template, Letters(), values)
    assert spans == [(1, 2, *map(ord, "2{x {count}")), (ord("b"),)]


def test_a_text_that_is_too_long_is_refused() -> None:
    template = (TextPart(text="{question}", longest=3),)
    with pytest.raises(C2TError, match="the prompt's text has 4 tokens, not 3"):
        fill_template(template, Letters(), {"question": "why?"})
