"""Files that lead out of themselves, lie about their types, or unpack to more than memory."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from make_cells import CELLS, adata, read, tokens, write, write_first_version

from c2t.runtime.cells.formats import hdf5
from c2t.runtime.cells.formats.attributes import attribute
from c2t.runtime.output.obs import check_obs
from c2t.runtime.system.errors import CellFileError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A file of cells, and another one with other names."""
    cells = adata()
    cells.obs_names = [f"secret{i}" for i in range(CELLS)]
    return write(tmp_path / "cells.h5ad", adata()), write(tmp_path / "other.h5ad", cells)


def change(path: Path, key: str, name: str, other: Path) -> None:
    """Put a link to another file in a group of its own, and a soft link to that at `key/name`."""
    with h5py.File(path, "r+") as file:
        file.create_group("away")["out"] = h5py.ExternalLink(str(other), "/")
        del file[key][name]
        file[key][name] = h5py.SoftLink(f"/away/out/{key.strip('/')}/{name}".replace("//", "/"))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("/", "X"),
        ("/", "obs"),
        ("/", "var"),
        ("/X", "data"),
        ("/X", "indices"),
        ("/X", "indptr"),
        ("/obs", "_index"),
        ("/obs/cell_type", "codes"),
        ("/obs/cell_type", "categories"),
        ("/var", "_index"),
        ("/var", "gene_symbol"),
    ],
)
def test_soft_link_to_another_file(key: str, name: str, files: tuple[Path, Path]) -> None:
    path, other = files
    change(path, key, name, other)
    with pytest.raises(CellFileError, match=r"is a link to another file: .*other\.h5ad"):
        read(path, gene_column="gene_symbol").obs_column("cell_type")


def test_links_inside_the_file_are_followed(files: tuple[Path, Path]) -> None:
    path, _ = files
    expected = tokens(read(path))
    with h5py.File(path, "r+") as file:
        file.move("X/data", "kept")
        file["step"] = h5py.SoftLink("./kept")
        file["X"]["data"] = h5py.SoftLink("/step")
        file.move("obs", "cells")
        file["obs"] = h5py.SoftLink("cells")
    assert tokens(read(path)) == expected


def test_links_in_a_circle(files: tuple[Path, Path]) -> None:
    path, _ = files
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"], file["Y"] = h5py.SoftLink("/Y"), h5py.SoftLink("/X")
    with pytest.raises(CellFileError, match="/X leads through more than 16 links"):
        read(path)


@pytest.mark.parametrize("name", ["../away/out/obs/_index", "/away/out/obs/_index", "away/_index"])
def test_index_that_is_a_path(name: str, files: tuple[Path, Path]) -> None:
    path, other = files
    with h5py.File(path, "r+") as file:
        file.create_group("away")["out"] = h5py.ExternalLink(str(other), "/")
        file["obs"]["away"] = h5py.ExternalLink(str(other), "/obs")
        del file["obs/_index"]
        file["obs"].attrs["_index"] = name
    with pytest.raises(CellFileError, match="/obs has no index"):
        read(path)


def test_columns_and_layers_that_are_paths(files: tuple[Path, Path]) -> None:
    path, other = files
    with h5py.File(path, "r+") as file:
        file["var"]["away"] = h5py.ExternalLink(str(other), "/var")
        file["layers"]["away"] = h5py.ExternalLink(str(other), "/")
    with pytest.raises(CellFileError):
        read(path, gene_column="away/_index")
    with pytest.raises(CellFileError):
        read(path, layer="layers/away/X")


LISTS = h5py.vlen_dtype(np.dtype("i4"))
ONE_LIST = np.empty(1, dtype=object)
ONE_LIST[0] = np.arange(3, dtype="i4")


@pytest.mark.parametrize(
    ("key", "name"),
    [("X", "encoding-type"), ("X", "shape"), ("obs", "_index"), ("var", "_index")],
)
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (ONE_LIST, LISTS),
        (np.zeros(2, [("a", "i4")]), None),
        (h5py.Empty("f"), None),
    ],
)
def test_attribute_of_an_unexpected_type(
    key: str, name: str, value: object, kind: object, files: tuple[Path, Path]
) -> None:
    path, _ = files
    with h5py.File(path, "r+") as file:
        del file[key].attrs[name]
        file[key].attrs.create(name, value, dtype=kind)
    with pytest.raises(CellFileError, match=f"/{key}"):
        read(path)


def test_attribute_that_is_an_array_of_one_value(files: tuple[Path, Path]) -> None:
    path, _ = files
    expected = tokens(read(path))
    with h5py.File(path, "r+") as file:
        for key, name in (("X", "encoding-type"), ("obs", "_index"), ("var", "_index")):
            text = file[key].attrs[name]
            del file[key].attrs[name]
            file[key].attrs.create(name, [text], dtype=h5py.string_dtype())
        group = file["obs"]
        group.attrs["numbers"] = [1, 2]
        assert attribute(group, "numbers", "/obs").tolist() == [1, 2]
        assert attribute(group, "none", "/obs") is None
    assert tokens(read(path)) == expected
    check_obs(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each change has a process of its own")
def test_changed_bytes_of_attributes_never_end_the_process(files: tuple[Path, Path]) -> None:
    path, _ = files
    content = path.read_bytes()
    starts = [content.find(b"_index\0", at) for at in (0, 5000, 16000)]
    code = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[3] / "support")!r})
from make_cells import read
from c2t.runtime.system.errors import C2TError
path, content, ends = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes(), []
places = [p for s in {starts} if s > 0 for p in range(s, s + 24)]
for place in places:
    for value in (1, 9, 0x19, 0xff):
        path.write_bytes(content[:place] + bytes([value]) + content[place + 1:])
        child = os.fork()
        if not child:
            try:
                read(path)
            except C2TError:
                pass
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            ends.append((place, value))
print(ends)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]", done.stderr[-9000:]


def huge(key: str, rows: int, dtype: object) -> Callable[[h5py.File], None]:
    """A data set that takes no room in the file: chunks that were never written."""

    def make(file: h5py.File) -> None:
        if key in file:
            del file[key]
        file.create_dataset(key, (rows,), dtype, chunks=(min(rows, 1000),))

    return make


# What is changed, and what the error says.
HUGE = {
    "names": (huge("obs/_index", 20_000_000, "S500"), r"/obs/_index takes 11,280,000,000 bytes"),
    "long names": (huge("obs/_index", 8, "S90000000"), "has room for 90,000,000 bytes in each"),
    "categories": (huge("obs/cell_type/categories", 49_900_000, "S200"), "takes 13,173,600,000"),
    "codes": (huge("obs/cell_type/codes", 5_000_000_000, "i4"), "5,000,000,000 rows, at most"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_tiny_file_that_fills_the_memory(kind: str, files: tuple[Path, Path]) -> None:
    resource = pytest.importorskip("resource")
    path, _ = files
    make, problem = HUGE[kind]
    with h5py.File(path, "r+") as file:
        make(file)
    assert path.stat().st_size < 4 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CellFileError, match=problem):
        read(path).obs_column("cell_type")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_table_of_the_first_version_that_fills_the_memory(tmp_path: Path) -> None:
    path = write_first_version(tmp_path / "cells.h5ad")
    kind = np.dtype([("index", "S400"), ("n", "f4")])
    with h5py.File(path, "r+") as file:
        huge("obs", 20_000_000, kind)(file)
    with pytest.raises(CellFileError, match="/obs/index takes 9,280,000,000 bytes of memory"):
        read(path)


def test_long_text_that_every_row_has(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 MB in the file, 1 MB times 9,000 in memory."""
    path, _ = files
    monkeypatch.setattr(hdf5, "COLUMN_BYTES_MAX", 1 << 28)  # 4 GB take a while to read
    with h5py.File(path, "r+") as file:
        del file["obs"]["_index"]
        made = file["obs"].create_dataset(
            "_index", (9000,), h5py.string_dtype(), chunks=(9000,), compression="gzip"
        )
        made[0] = "x" * (1 << 20)
        # The place of the text in the file, copied to all rows.
        _, packed = made.id.read_direct_chunk((0,))
        entry = zlib.decompress(packed)[:16]
        made.id.write_direct_chunk((0,), zlib.compress(entry * 9000))
    with pytest.raises(CellFileError, match=r"/obs/_index takes .+ bytes of memory"):
        read(path)


def test_column_of_lists(files: tuple[Path, Path]) -> None:
    path, _ = files
    with h5py.File(path, "r+") as file:
        made = file["obs"].create_dataset("lists", (CELLS,), LISTS)
        made[0] = [1, 2]
    with pytest.raises(CellFileError, match="/obs/lists has a type that is not expected"):
        read(path).obs_column("lists")
