"""Labelled cells of the demonstration, and how their labels are called in its captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2t.examples.demo.captions import read_caption_table

SETS = (
    "pbmc3k_labelled_raw",
    "pbmc68k_reduced_700x765_raw",
    "fetal_forebrain_2236x2000_raw",
    "kang18_lupus_6donors_raw",
)


def label_column(name: str) -> str:
    """Column of a set with the labels."""
    return str(read_caption_table().sets[name]["label_column"])


def types_of(name: str, labels: list[str]) -> NDArray[np.str_]:
    """The cell types of labels as captions name them; "" for a label that captions leave out."""
    names = read_caption_table().sets[name]["labels"]
    return np.array([names.get(label, "") for label in labels])


def cells_of(folder: Path, name: str) -> Path:
    """The file of a set."""
    return folder / f"{name}.h5ad"
