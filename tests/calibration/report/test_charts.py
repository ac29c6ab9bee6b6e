"""Whole labels in every chart: all of their letters are there, inside of the picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from chart_labels import LABELS, texts_outside

from c2t.calibration.confidence.reliability import reliability
from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.report.charts import (
    FONT_SIZE,
    BarRow,
    IntervalRow,
    bar_chart,
    heat_map,
    histogram,
    interval_chart,
    sensitivity_chart,
)
from c2t.calibration.report.reliability_chart import reliability_chart
from c2t.calibration.results.calibration import Sensitivity
from c2t.runtime.bench.picture import Bar, BarGroup, bar_picture
from c2t.runtime.system.svg import text_width

SHARE = Interval(value=0.5, low=0.4, high=1.0)


def heat() -> str:
    counts = {(row, column): 3 for row in LABELS for column in LABELS}
    return heat_map(LABELS, LABELS, counts)


def reliable() -> str:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=300)
    right = (rng.uniform(size=300) < p).astype(float)
    long = "probability that the bundle states, with a name that is longer than any other"
    return reliability_chart([reliability(p, right, of=long), reliability(p, right, of="x")])


CHARTS: dict[str, Callable[[], str]] = {
    "intervals": lambda: interval_chart([IntervalRow(name, (SHARE, None)) for name in LABELS]),
    "bars": lambda: bar_chart([BarRow(name, (0.5,), f"remark {name}") for name in LABELS]),
    "two bars": lambda: bar_chart([BarRow(name, (0.5, 1.0), "") for name in LABELS]),
    "heat map": heat,
    "histogram": lambda: histogram([5] * 1_234_567, 40),
    "sensitivity": lambda: sensitivity_chart(
        [Sensitivity(graph="encoder.onnx", linear="x" * 90, sqnr=123.4, kl=None)]
    ),
    "reliability": reliable,
    "bench": lambda: bar_picture(
        "title " * 30,
        "notes " * 60,
        [BarGroup("group " * 40, tuple(Bar(name, 1.0, f"words {name}") for name in LABELS))],
    ),
}


@pytest.mark.parametrize("chart", CHARTS)
def test_no_text_begins_outside_by_the_estimate(chart: str) -> None:
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", CHARTS[chart]()))
    left, top, width, height = map(float, root.get("viewBox", "").split())
    assert (width, height) == (float(root.get("width", 0)), float(root.get("height", 0)))
    for text in root.iter("text"):
        words = "".join(text.itertext()).removeprefix(text.findtext("title") or "")
        if text.get("transform"):
            continue  # turned ones are left to the browser
        size, x = float(text.get("font-size", FONT_SIZE)), float(text.get("x", 0))
        wide = text_width(words, size, bold=text.get("font-weight") == "bold")
        begin = x - {"end": wide, "middle": wide / 2}.get(text.get("text-anchor", ""), 0)
        assert begin >= left - 1e-6, words
        assert begin + wide <= left + width + 1e-6, words
        assert top <= float(text.get("y", 0)) <= top + height, words


@pytest.mark.parametrize("chart", ["intervals", "bars", "heat map", "bench"])
def test_every_label_is_whole(chart: str) -> None:
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", CHARTS[chart]()))
    for title in list(root.iter("title")):
        title.text = ""
    shown = "".join("".join(text.itertext()) for text in root.iter("text")).replace(" ", "")
    for label in LABELS:
        assert label.replace(" ", "") in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_lines_of_rows_do_not_run_into_each_other() -> None:
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", CHARTS["bars"]()))
    left = [t for t in root.iter("text") if t.get("text-anchor") == "end"]
    places = [float(t.get("y", 0)) for t in left]
    assert all(b - a >= FONT_SIZE for a, b in pairwise(places))


def test_a_browser_draws_every_text_inside(tmp_path: Path) -> None:
    """The estimate of widths is only that: the font that is there decides."""
    pytest.importorskip("playwright")
    from page_browser import CHROMIUM

    if CHROMIUM is None:
        pytest.skip("no Chromium; name one with C2T_CHROMIUM")
    pictures = "\n".join(make() for make in CHARTS.values())
    for fonts in ("sans-serif", "DejaVu Sans, Verdana", "serif"):
        style = f"<style>svg {{ font-family: {fonts}; display: block }}</style>"
        assert (
            texts_outside(f"<!doctype html><meta charset=utf-8>{style}{pictures}", tmp_path) == []
        )
