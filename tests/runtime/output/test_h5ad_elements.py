"""Elements are those that anndata writes: the same types, shapes, attributes and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from c2t.runtime.output.h5ad_elements import write_element

VALUES = {
    "texts": np.array(["a", "αβ T cell", ""], dtype=object),
    "no texts": np.array([], dtype=object),
    "numbers": np.array([0.5, np.nan]),
    "whole numbers": np.arange(6, dtype=np.int32).reshape(2, 3),
    "flags": np.array([True, False]),
    "dict": {
        **{"text": "naïve", "empty": "", "count": 3, "share": 0.25, "flag": True},
        "inner": {"seconds": np.float32(1.5), "nothing": {}},
    },
}


def look(element: Any) -> Any:
    """All that a file says of an element."""
    attributes = {name: str(value) for name, value in element.attrs.items()}
    if isinstance(element, h5py.Group):
        return attributes, {name: look(inner) for name, inner in element.items()}
    text = h5py.check_string_dtype(element.dtype)
    content = element.asstr()[()] if text else element[()]
    plist = element.id.get_create_plist()
    return (
        *(attributes, element.shape, element.dtype, text, element.maxshape, element.chunks),
        *(plist.get_nfilters(), repr(content)),
    )


def test_elements_are_those_of_anndata(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed: c2t[demo]")
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        for name, value in VALUES.items():
            write_element(file, f"ours {name}", value)
            anndata.io.write_elem(file, f"theirs {name}", value)
            assert look(file[f"ours {name}"]) == look(file[f"theirs {name}"]), name


@pytest.mark.parametrize("name", VALUES)
def test_what_stood_there_is_replaced(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        write_element(file, "fresh", VALUES[name])
        write_element(file, "again", {"a": "group"})
        write_element(file, "again", VALUES[name])
        assert look(file["again"]) == look(file["fresh"])


@pytest.mark.parametrize("value", [None, ["a"], b"a", np.array(["a"]), 1j])
def test_what_is_no_element_is_a_bug(tmp_path: Path, value: Any) -> None:
    with h5py.File(tmp_path / "cells.h5ad", "w") as file, pytest.raises(TypeError, match="x: no"):
        write_element(file, "x", value)
