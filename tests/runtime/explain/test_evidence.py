"""Effects on the probability are numbers, however improbable the words are."""

from __future__ import annotations

import math

import pytest

from c2t.runtime.explain.evidence import probability_effect


@pytest.mark.parametrize(
    ("base", "effect", "expected"),
    [
        (math.log(0.5), math.log(2), 0.25),
        (math.log(0.5), -math.log(1.5), -0.25),
        (math.log(0.5), 0.0, 0.0),
        (-800.0, 20.0, 0.0),
        (-800.0, -30.0, 0.0),
        (-800.0, -799.0, -math.exp(-1)),  # 0 times infinity, were it multiplied
        (-1.0, 800.0, math.exp(-1)),
        (0.0, -1e-9, 0.0),  # an engine's rounding makes no probability above 1
    ],
)
def test_the_effect_on_the_probability(base: float, effect: float, expected: float) -> None:
    assert probability_effect(base, effect) == pytest.approx(expected, abs=1e-15)
