"""Hints name what must be installed first, where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import pytest

from c2t.runtime.cells.formats import converters
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.system.errors import CellFileError


def spatial(folder: Path) -> Path:
    with h5py.File(folder / "cells.h5", "w") as file:
        file.create_group("tables/table").attrs["encoding-type"] = "anndata"
    return folder / "cells.h5"


def table(folder: Path) -> Path:
    (folder / "cells.parquet").write_bytes(b"PAR1")
    return folder / "cells.parquet"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(("make", "package"), [(spatial, "anndata"), (table, "anndata")])
def test_command_of_a_hint_says_what_it_needs(
    make, package: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converters, "find_spec", lambda _: sys.__spec__ if there else None)
    with pytest.raises(CellFileError) as caught:
        open_store(make(tmp_path))
    assert f"{package}." in caught.value.hint
    assert caught.value.hint.endswith(f" (after `pip install {package}`)") == (not there)
