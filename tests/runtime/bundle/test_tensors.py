"""Text token tables: float32 as before, int8 with a scale a row, and what does not fit together."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import structs

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import MANIFEST_NAME, TensorReference
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.bundle.tensors import Int8Rows
from c2t.runtime.system.errors import BundleError

TABLE = "table.bin"


def test_rows_are_widened_when_looked_up():
    rows = Int8Rows(np.array([[1, -2], [127, 0]], np.int8), np.array([0.5, 2], np.float32))
    assert (len(rows), rows.shape, rows.dtype) == (2, (2, 2), np.float32)
    assert rows[[1, 0, 0]].tolist() == [[254, 0], [0.5, -1], [0.5, -1]]
    assert rows[np.array([[0], [1]])].shape == (2, 1, 2)
    assert rows[1].tolist() == [254, 0]
    assert rows[[0]].dtype == np.float32


def test_many_rows_of_a_mapped_table(tmp_path):
    values = np.random.default_rng(0).integers(-128, 128, (300, 5)).astype(np.int8)
    values.tofile(tmp_path / TABLE)
    scale = np.arange(300, dtype=np.float32)
    rows = Int8Rows(np.memmap(tmp_path / TABLE, np.int8, mode="r", shape=(300, 5)), scale)
    for wanted in (np.arange(299, -1, -3), np.zeros((2, 0), int), np.full((7, 9), 299)):
        np.testing.assert_array_equal(rows[wanted], values[wanted] * scale[wanted][..., None])
    with pytest.raises(IndexError):
        rows[[0, 300]]


def with_table(source: Path, folder: Path, dtype: str, rows: int | None) -> Path:
    """A copy of a bundle with another token table: row v is v, v + 1, ..., modulo 100.

    Args:
        source: The bundle.
        folder: The copy.
        dtype: Of the table.
        rows: How many rows have a scale (0.5 each, all of them for -1); None: there are none.
    """
    shutil.copytree(source, folder)
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    shape = manifest.decoder.token_embedding.shape
    values = ((np.arange(shape[0])[:, None] + np.arange(shape[1])) % 100).astype(dtype)
    scales = np.full(shape[0], 0.5, np.float32)
    (folder / TABLE).write_bytes(scales.tobytes() + values.tobytes())
    table = TensorReference(file=TABLE, offset=scales.nbytes, shape=shape, dtype=dtype)
    scale = None
    if rows is not None:
        scaled = shape[0] if rows < 0 else rows
        scale = TensorReference(file=TABLE, offset=0, shape=(scaled,), dtype="float32")
    decoder = structs.replace(manifest.decoder, token_embedding=table, token_scale=scale)
    files = file_entries(folder, [*manifest.files, TABLE])
    write_manifest(folder, manifest.replace(decoder=decoder, files=files))
    return folder


def test_an_int8_table_of_a_bundle(tiny_bundle_folder, tmp_path):
    table = open_bundle(with_table(tiny_bundle_folder, tmp_path / "b", "int8", -1))
    assert table.token_embedding[[7]][0, :3].tolist() == [3.5, 4, 4.5]


def test_a_float32_table_of_a_bundle(tiny_bundle_folder, tmp_path):
    table = open_bundle(with_table(tiny_bundle_folder, tmp_path / "b", "float32", None))
    assert table.token_embedding[[7]][0, :3].tolist() == [7, 8, 9]


@pytest.mark.parametrize(("dtype", "rows"), [("int8", None), ("float32", -1), ("int8", 1)])
def test_scales_that_do_not_fit(tiny_bundle_folder, tmp_path, dtype, rows):
    folder = with_table(tiny_bundle_folder, tmp_path / "b", dtype, rows)
    with pytest.raises(BundleError):
        _ = open_bundle(folder).token_embedding


def test_a_manifest_from_before_there_were_scales(tiny_bundle_folder):
    raw = msgspec.json.decode((tiny_bundle_folder / MANIFEST_NAME).read_bytes())
    del raw["decoder"]["token_scale"]
    assert parse_manifest(msgspec.json.encode(raw)).decoder.token_scale is None
