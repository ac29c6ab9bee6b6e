"""HDF5 that is packed with gzip: unpacked in private, within limits, and gone afterwards."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from cell_libraries import needs_anndata
from make_cells import adata, read, tokens, write
from make_formats import write_gz, write_tenx

from c2t.runtime.cells.formats import packed, spilled
from c2t.runtime.system.errors import CellFileError

pytestmark = needs_anndata


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_nothing_has_a_name_while_it_is_read(tmp_path: Path, temporary: Path) -> None:
    path = write_gz(tmp_path / "cells.h5ad.gz", adata())
    with read(path) as reader:
        assert not list(temporary.iterdir())
        assert tokens(reader) == tokens(read(adata()))
        assert "cells.h5ad.gz was unpacked to" in reader.warnings[0]
        assert reader.name == "cells.h5ad.gz"


def test_what_is_inside_is_not_told_by_the_name(tmp_path: Path) -> None:
    plain = write_tenx(tmp_path / "cells.h5", adata())
    path = tmp_path / "cells.h5ad"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert tokens(read(path)) == tokens(read(adata()))


def test_bombs_cut_files_and_full_disks(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gz(tmp_path / "cells.h5ad.gz", adata())
    content = path.read_bytes()

    def refused(said: str) -> None:
        with pytest.raises(CellFileError) as caught:
            read(path)
        assert said in caught.value.problem
        assert str(temporary) not in caught.value.problem.replace(f" in {temporary}", "")
        assert not list(temporary.iterdir())

    path.write_bytes(content[: len(content) // 2])
    refused("is cut off: it ends in the middle")
    plain = write(tmp_path / "plain.h5ad", adata()).read_bytes()
    path.write_bytes(gzip.compress(plain[: len(plain) // 2]))
    refused("cells.h5ad.gz is not a readable .h5ad file")
    path.write_bytes(gzip.compress(plain + bytes(1 << 20), compresslevel=9))
    monkeypatch.setattr(packed, "RATIO_MAX", 2)
    monkeypatch.setattr(packed, "SMALL_BYTES", 1 << 16)
    refused("unpacks to more than 2 times its size")
    monkeypatch.setattr(packed, "RATIO_MAX", 2000)
    monkeypatch.setattr(spilled, "SPARE_BYTES", 1 << 60)
    refused("no room to unpack cells.h5ad.gz")
