"""Zarr stores: what of them is read, codecs, shards, and what hostile ones do."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata, pd
from make_cells import CELLS, adata, read, tokens
from make_formats import write_zarr, zipped

from c2t.runtime.cells.formats.zarr import codecs
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.system.errors import CellFileError

zarr = pytest.importorskip("zarr", reason="zarr is not installed, which writes the stores")
numcodecs = pytest.importorskip("numcodecs", reason="numcodecs is not installed (c2t[zarr])")
pytestmark = needs_anndata


def full() -> anndata.AnnData:
    """Cells with every kind of column and matrix."""
    cells = adata()
    cells.obs["n"] = pd.array([1, None] * (CELLS // 2), dtype="Int64")
    cells.obs["x"] = np.linspace(0, 1, CELLS)
    cells.obs["text"] = [f"é{n}" for n in range(CELLS)]
    cells.layers["dense"] = cells.X.toarray()
    cells.layers["by gene"] = cells.X.tocsc()
    cells.raw = cells.copy()
    cells.uns["organism"] = "Homo sapiens"
    return cells


@pytest.fixture(params=[2, 3])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_columns_and_matrices(version: int, tmp_path: Path) -> None:
    cells = full()
    path = write_zarr(tmp_path / "cells.zarr", cells, version)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    expected = tokens(read(adata()))
    for layer in ("X", "raw", "dense", "by gene"):
        assert tokens(read(path, layer=layer)) == expected
    with CellCounts(path) as one, CellCounts(tmp_path / "cells.h5ad") as other:
        assert sorted(one.obs_columns) == sorted(other.obs_columns)
        for name in other.obs_columns:
            assert one.obs_column(name) == other.obs_column(name)
        assert one.store.uns_text("organism") == "Homo sapiens"
        assert sorted(one.store.locations) == sorted(other.store.locations)


def again(path: Path, version: int, name: str, **options: Any) -> None:
    """Write an array of the matrix again, in another way."""
    root = zarr.open_group(path, mode="r+", zarr_format=version)
    values = root["X"][name][:]
    del root["X"][name]
    root["X"].create_array(name, data=values, **options)


@pytest.mark.parametrize(
    "codec",
    [
        *(numcodecs.Zlib(), numcodecs.GZip(), numcodecs.BZ2(), numcodecs.LZ4(), numcodecs.Zstd()),
        *(numcodecs.Blosc("zstd", shuffle=2), numcodecs.Blosc("zlib", shuffle=0), None),
    ],
    ids=str,
)
def test_codecs_of_format_2(codec: Any, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "cells.zarr", adata(), 2)
    for name in ("data", "indices", "indptr"):
        again(path, 2, name, chunks=(17,), compressors=codec)
    assert tokens(read(path)) == tokens(read(adata()))


@pytest.mark.parametrize("location", ["start", "end"])
def test_shards(location: str, tmp_path: Path) -> None:
    from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec

    path = write_zarr(tmp_path / "cells.zarr", adata(), 3)
    for name in ("data", "indices"):
        codec = ShardingCodec(
            chunk_shape=(16,), codecs=[BytesCodec(), ZstdCodec()], index_location=location
        )
        again(path, 3, name, chunks=(64,), serializer=codec, compressors=None)
    assert tokens(read(path)) == tokens(read(adata()))
    shard = next(file for file in (path / "X/data/c").iterdir())
    content = bytearray(shard.read_bytes())
    content[-9 if location == "end" else 3] ^= 4  # in the index
    shard.write_bytes(bytes(content))
    with pytest.raises(CellFileError, match="its checksum is another one"):
        tokens(read(path))


def test_endian_order_and_edges(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "cells.zarr", adata(adata().X.toarray()), 2)
    root = zarr.open_group(path, mode="r+", zarr_format=2)
    values = root["X"][:]
    expected = tokens(read(adata()))
    for dtype, order, chunks in (
        (">f4", "C", (7, 13)),
        ("<f8", "F", (40, 11)),
        (">i2", "F", (9, 80)),
    ):
        del root["X"]
        array = root.create_array(
            "X", shape=values.shape, dtype=dtype, chunks=chunks, order=order, fill_value=0
        )
        array[:] = values
        assert tokens(read(path)) == expected


def test_inner_anndata(version: int, tmp_path: Path) -> None:
    path = tmp_path / "all.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=version)
    for name in ("prot", "rna"):
        root.require_group("mod")
        shutil.copytree(write_zarr(tmp_path / name, adata(), version), path / "mod" / name)
    assert tokens(read(path)) == tokens(read(adata()))
    assert tokens(read(path, part="prot")) == tokens(read(adata()))
    with pytest.raises(CellFileError, match="there is no part `atac`"):
        read(path, part="atac")


def document(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what is stated of an array or a group."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CellFileError) as caught:
        tokens(read(path, **options))
    assert caught.value.hint
    assert "\n" not in caught.value.problem + caught.value.hint
    return caught.value.problem


STATED_2 = {
    "pickle": ("obs/_index/.zarray", {"filters": [{"id": "pickle"}]}, "Python objects, which are"),
    "json": ("obs/_index/.zarray", {"filters": [{"id": "json2"}]}, "(filters: json2)"),
    "no filter": ("obs/_index/.zarray", {"filters": None}, "(filters: none)"),
    "filter": ("X/data/.zarray", {"filters": [{"id": "pickle"}]}, "is filtered"),
    "codec": ("X/data/.zarray", {"compressor": {"id": "pickle"}}, "codec 'pickle', which is not"),
    "object": ("X/data/.zarray", {"dtype": "|O"}, "holds Python objects"),
    "record": ("X/data/.zarray", {"dtype": [["a", "<i4"]]}, "read"),
    "wide": ("X/data/.zarray", {"dtype": "|S100000"}, "which is not read"),
    "shape": ("X/data/.zarray", {"shape": [1 << 40]}, "indices for"),
    "negative": ("X/data/.zarray", {"shape": [-1]}, "in a way that is not read"),
    "chunk": ("X/data/.zarray", {"chunks": [1 << 40]}, "bytes, at most"),
    "no chunk": ("X/data/.zarray", {"chunks": [0]}, "in a way that is not read"),
    "chunk size": ("X/data/.zarray", {"chunks": [1000]}, "chunk 0"),
    "rows": ("obs/_index/.zarray", {"shape": [1 << 30]}, "rows, at most"),
    "dimensions": ("X/data/.zarray", {"shape": [2, 2], "chunks": [2, 2]}, "dimensions"),
    "separator": ("X/data/.zarray", {"dimension_separator": "/../"}, "separates the numbers"),
    "order": ("X/data/.zarray", {"order": "../"}, "has the order"),
    "format": ("X/data/.zarray", {"zarr_format": 9}, "no array of zarr format 2 or 3"),
    "index": ("obs/.zattrs", {"_index": "../../x"}, "is not the name of a member"),
    "index name": ("obs/.zattrs", {"_index": 7}, "is not the name of a member"),
    "layout": ("X/.zattrs", {"encoding-type": "coo"}, "neither a dense, a CSR nor a CSC"),
    "matrix": ("X/.zattrs", {"shape": [2, "x"]}, "has shape"),
}


@pytest.mark.parametrize("kind", STATED_2)
def test_hostile_descriptions_of_format_2(kind: str, tmp_path: Path) -> None:
    place, stated, said = STATED_2[kind]
    path = write_zarr(tmp_path / "cells.zarr", adata(), 2)
    document(path / place, lambda content: content.update(stated))
    assert said in refusal(path)


STATED_3 = {
    "codec": ({"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]}, "which is not read"),
    "to bytes": ({"codecs": [{"name": "vlen-bytes"}]}, "by the codec 'vlen-bytes'"),
    "no codec": ({"codecs": []}, "in a way that is not read"),
    "type": ({"data_type": "complex64"}, "holds 'complex64'"),
    "type list": ({"data_type": ["x"]}, "read"),
    "grid": ({"chunk_grid": {"name": "rectilinear"}}, "chunks of an unknown kind"),
    "key": ({"chunk_key_encoding": {"name": "../"}}, "chunks of an unknown kind"),
    "transformer": ({"storage_transformers": [{"name": "x"}]}, "storage transformers"),
    "group": ({"node_type": "group"}, "is a group"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STATED_3)
def test_hostile_descriptions_of_format_3(kind: str, tmp_path: Path) -> None:
    stated, said = STATED_3[kind]
    path = write_zarr(tmp_path / "cells.zarr", adata(), 3)
    document(path / "X/data/zarr.json", lambda content: content.update(stated))
    assert said in refusal(path)


def chunk_of(path: Path, array: str) -> Path:
    return next(file for file in (path / array).rglob("*") if file.is_file() and file.name == "0")


def test_chunks_that_lie_or_lack(version: int, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "cells.zarr", adata(), version)
    for array in ("X/data", "X/indices", "X/indptr", "obs/_index"):
        chunk = chunk_of(path, array)
        content = chunk.read_bytes()
        chunk.unlink()
        assert f"/{array} (chunk 0) is missing" in refusal(path)
        for broken in (b"", b"x", content[: len(content) // 2], content[:-1], content + b"x" * 9):
            chunk.write_bytes(broken)
            assert f"/{array} (chunk 0)" in refusal(path)
        chunk.write_bytes(bytes(300 << 20))
        assert "at most" in refusal(path)
        chunk.write_bytes(content)
    assert tokens(read(path)) == tokens(read(adata()))


def test_bombs(tmp_path: Path) -> None:
    zeros = bytes(64 << 20)
    packed = {
        "zlib": numcodecs.Zlib(9).encode(zeros),
        "gzip": numcodecs.GZip(9).encode(zeros),
        "bz2": numcodecs.BZ2(9).encode(zeros),
        "lz4": numcodecs.LZ4().encode(zeros),
        "zstd": numcodecs.Zstd(9).encode(zeros),
        "blosc": numcodecs.Blosc("zstd").encode(zeros),
    }
    for name, content in packed.items():
        with pytest.raises(CellFileError, match="unpacks to"):
            codecs.unpack(bytes(content), name, 1000, "chunk")
        assert len(codecs.unpack(bytes(content), name, len(zeros), "chunk")) == len(zeros)


def test_blosc_is_not_read_beyond_its_end() -> None:
    content = bytearray(numcodecs.Blosc("lz4").encode(np.arange(1000, dtype="f4").tobytes()))
    with pytest.raises(CellFileError, match="bytes are there"):
        codecs.unpack(bytes(content[:60]), "blosc", 4000, "chunk")
    content[12:16] = struct.pack("<I", 1 << 30)
    with pytest.raises(CellFileError, match="bytes are there"):
        codecs.unpack(bytes(content), "blosc", 4000, "chunk")


def test_zstd_states_its_size() -> None:
    for size in (10, 200, 300, 70_000):
        content = bytes(numcodecs.Zstd(1).encode(b"x" * size))
        assert codecs.unpack(content, "zstd", size, "chunk") == b"x" * size
        with pytest.raises(CellFileError, match=f"unpacks to {size:,} bytes"):
            codecs.unpack(content, "zstd", size - 1, "chunk")


def test_links(version: int, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "cells.zarr", adata(), version)
    other = write_zarr(tmp_path / "other.zarr", adata(), version)
    for place in ("X/data", "X", "obs/_index", "obs"):
        kept = tmp_path / "kept"
        (path / place).rename(kept)
        (path / place).symlink_to(other / place)
        assert "is a link, which may lead out" in refusal(path)
        (path / place).unlink()
        kept.rename(path / place)
    chunk = chunk_of(path, "X/data")
    chunk.rename(tmp_path / "kept")
    chunk.symlink_to(tmp_path / "kept")
    assert "is a link" in refusal(path)


def test_zip_with_names_that_lead_out(tmp_path: Path) -> None:
    store = write_zarr(tmp_path / "cells.zarr", adata(), 2)
    path = zipped(tmp_path / "cells.zip", store, "../../up/cells.zarr/")
    assert tokens(read(path)) == tokens(read(adata()))  # members are read, never written anywhere
    assert not (tmp_path.parent / "up").exists()
    plain = zipped(tmp_path / "plain.zip", store)
    assert tokens(read(plain)) == tokens(read(adata()))
    content = plain.read_bytes()
    plain.write_bytes(content[:4000] + bytes(200) + content[4200:])
    with pytest.raises(CellFileError):
        tokens(read(plain))


def test_missing_numcodecs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zarr(tmp_path / "cells.zarr", adata(), 2)

    import_module = codecs.importlib.import_module

    def missing(name: str) -> ModuleType:
        if name.split(".")[0] == "numcodecs":
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr(codecs.importlib, "import_module", missing)
    with pytest.raises(CellFileError, match="which needs numcodecs") as caught:
        read(path)
    assert "pip install 'c2t[zarr]'" in caught.value.hint


def test_no_anndata(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=3).create_group("pixels")
    assert "no AnnData in this zarr store; it holds pixels" in refusal(tmp_path / "image.zarr")
    write_zarr(tmp_path / "cells.zarr", adata(), 3)
    (tmp_path / "cells.zarr/obs/zarr.json").write_text("{")
    assert "cells.zarr/obs/zarr.json" in refusal(tmp_path / "cells.zarr")
    deep = "[" * 100_000
    (tmp_path / "cells.zarr/obs/zarr.json").write_text(deep)
    assert "cells.zarr/obs/zarr.json" in refusal(tmp_path / "cells.zarr")
