"""Scales of histograms."""

from __future__ import annotations

import re

import numpy as np
import pytest

from c2t.runtime.report.charts import histogram


@pytest.mark.parametrize(
    ("least", "ticks"),
    [
        (0.951, ["0.9", "0.92", "0.94", "0.96", "0.98", "1"]),
        (0.9, ["0.9", "0.92", "0.94", "0.96", "0.98", "1"]),
        (0.83, ["0.8", "0.85", "0.9", "0.95", "1"]),
        (0.55, ["0.5", "0.6", "0.7", "0.8", "0.9", "1"]),
        (0.07, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_ticks_are_round_numbers_and_all_cells_are_counted(least: float, ticks: list[str]) -> None:
    values = np.array([*np.linspace(least, 1, 77), np.nan])
    drawn = histogram(values, title="t")
    said = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert said[2:] == ticks
    counted = re.findall(r": (\d+) cells?<", drawn)
    assert sum(map(int, counted)) == 77
    assert ": 1 cells" not in drawn


def test_no_values() -> None:
    assert ">0.2<" in histogram(np.full(3, np.nan), title="t")
