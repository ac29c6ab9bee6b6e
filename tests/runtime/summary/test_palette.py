"""The colours of types: far apart, whoever looks."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.summary.palette import COLOURS, GREY, colour

# Machado et al. 2009, severity 1.0, on linear RGB.
SEEN = {
    "full colour vision": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def cielab(colours: list[str], seen: np.ndarray) -> np.ndarray:
    """Colours [n, 3] in CIELAB (D65), as somebody sees them."""
    rgb = np.array([[int(c[p : p + 2], 16) for p in (1, 3, 5)] for c in colours]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ seen.T, 0, 1) @ XYZ.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


def nearest(colours: list[str], seen: np.ndarray) -> float:
    lab = cielab(colours, seen)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return float(distance.min())


@pytest.mark.parametrize("who", SEEN)
def test_everybody_tells_them_apart(who: str) -> None:
    # A difference of 2.3 is just noticed; neighbours in a scatter need several times as much.
    assert nearest(list(COLOURS[:12]), SEEN[who]) > 17
    assert nearest(list(COLOURS), SEEN[who]) > 14
    assert nearest([*COLOURS, GREY], SEEN[who]) > 12


def test_white_and_dark_paper_both_show_them() -> None:
    lightness = cielab(list(COLOURS), np.eye(3))[:, 0]
    assert lightness.min() > 31
    assert lightness.max() < 84


def test_what_has_no_colour_is_grey() -> None:
    assert colour(0) == COLOURS[0]
    assert colour(len(COLOURS)) == colour(-1) == GREY
    assert len(set(COLOURS)) == len(COLOURS)
