"""As few linears as pass the gate are left out, with few tries."""

import pytest

from c2t.calibration.trials import fewest


@pytest.mark.parametrize("needed", [0, 1, 2, 3, 5, 8, 11, 12])
def test_the_fewest_are_left_out(needed):
    tried = []

    def passes(number: int) -> bool:
        tried.append(number)
        return number >= needed

    assert fewest(12, passes) == needed
    assert len(tried) == len(set(tried)) <= 8


def test_nothing_helps():
    assert fewest(12, lambda _: False) is None
