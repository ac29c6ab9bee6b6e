"""Hints name what must be installed first, where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import pytest

from c2t.runtime.cells.formats import converters
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.system.errors import CellFileError


def zarr(folder: Path) -> Path:
    (folder / "cells.zarr").mkdir()
    (folder / "cells.zarr/.zgroup").write_text("{}")
    return folder / "cells.zarr"


def table(folder: Path) -> Path:
    (folder / "cells.csv").write_text("cell,CD3E\na,1\n")
    return folder / "cells.csv"


def loom(folder: Path) -> Path:
    with h5py.File(folder / "cells.loom", "w") as file:
        for name in ("matrix", "row_attrs", "col_attrs"):
            file.create_group(name)
    return folder / "cells.loom"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("make", "package"), [(zarr, "anndata"), (table, "anndata"), (loom, "scanpy")]
)
def test_command_of_a_hint_says_what_it_needs(
    make, package: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converters, "find_spec", lambda _: sys.__spec__ if there else None)
    with pytest.raises(CellFileError) as caught:
        open_store(make(tmp_path))
    assert f"{package}." in caught.value.hint
    assert caught.value.hint.endswith(f" (after `pip install {package}`)") == (not there)
