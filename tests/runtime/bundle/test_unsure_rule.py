"""`unsure.json`: what it says between its corners, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_data import BUNDLES
from unsure_rules import bundle_with, make_rule

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME, read_rule
from c2t.runtime.system.errors import BundleError


def test_probabilities_are_those_of_the_polyline() -> None:
    xs, ys = (0.2, 0.5, 0.9), (0.1, 0.1, 0.8)
    rule = make_rule(confidence=xs, probability=ys)
    given = np.linspace(0, 1, 101)
    found = [rule.probability_of(float(x)) for x in given]
    np.testing.assert_allclose(found, np.interp(given, xs, ys), atol=1e-12)
    assert make_rule(confidence=(0.5,), probability=(0.7,)).probability_of(0.1) == 0.7


def test_a_bundle_states_its_rule(tmp_path: Path) -> None:
    rule = make_rule()
    stated = open_bundle(bundle_with(rule, BUNDLES["mlp"], tmp_path / "stated"))
    assert stated.unsure_rule == rule
    assert open_bundle(BUNDLES["mlp"]).unsure_rule is None
    (stated.path / UNSURE_NAME).write_bytes(msgspec.json.encode(make_rule(threshold=0.0)))
    with pytest.raises(BundleError):
        open_bundle(stated.path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 2}, "version is 2"),
        ({"confidence": (0.5, 0.5)}, "do not ascend"),
        ({"probability": (0.5, 0.1)}, "probabilities descend"),
        ({"confidence": (0.1,)}, "1 confidences and 2 probabilities"),
        ({"confidence": (), "probability": ()}, "0 confidences"),
        ({"confidence": (0.0, 1.5)}, "not between 0 and 1"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"target": -1.0}, "target is -1"),
        ({"confidence": tuple(i / 2000 for i in range(1025))}, "1025 confidences"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict, problem: str) -> None:
    path = tmp_path / UNSURE_NAME
    path.write_bytes(msgspec.json.encode(make_rule(**changes)))
    with pytest.raises(BundleError, match=problem) as caught:
        read_rule(path)
    assert "--fit-unsure" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"threshold": NaN}', "\xff"])
def test_what_is_no_rule_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / UNSURE_NAME
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError):
        read_rule(path)
