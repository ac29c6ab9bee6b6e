"""Text token tables: float32 as before, int8 with a scale a row, and what does not fit together."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from c2t.runtime.bundle import file_entries, open_bundle, parse_manifest, write_manifest
from c2t.runtime.errors import BundleError
from c2t.runtime.manifest import MANIFEST_NAME, TensorReference
from c2t.runtime.token_table import Int8Rows

TABLE = "table.bin"


def test_rows_are_widened_when_looked_up():
    rows = Int8Rows(np.array([[1, -2], [127, 0]], np.int8), np.array([0.5, 2], np.float32))
    assert (len(rows), rows.shape, rows.dtype) == (2, (2, 2), np.float32)
    assert rows[[1, 0, 0]].tolist() == [[254, 0], [0.5, -1], [0.5, -1]]
    assert rows[np.array([[0], [1]])].shape == (2, 1, 2)
    assert rows[1].tolist() == [254, 0]
    assert rows[[0]].dtype == np.float32


def with_table(source: Path, folder: Path, dtype: str, scale: TensorReference | None) -> Path:
    """A copy of a bundle whose token table is 2 x 4 numbers in a file of its own."""
    shutil.copytree(source, folder)
    values = np.arange(8).astype(dtype).tobytes().ljust(64, b"\0")
    (folder / TABLE).write_bytes(values + np.array([1, 0.5], np.float32).tobytes())
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    reference = TensorReference(file=TABLE, offset=0, shape=(2, 4), dtype=dtype)
    decoder = replace(
        manifest.decoder,
        vocabulary_size=2,
        width=4,
        token_embedding=reference,
        token_scale=scale,
    )
    files = file_entries(folder, [*manifest.files, TABLE])
    write_manifest(folder, replace(manifest, decoder=decoder, files=files))
    return folder


def scales(rows: int = 2) -> TensorReference:
    return TensorReference(file=TABLE, offset=64, shape=(rows,), dtype="float32")


def test_an_int8_table_of_a_bundle(tiny_bundle_folder, tmp_path):
    table = open_bundle(with_table(tiny_bundle_folder, tmp_path / "b", "int8", scales()))
    assert table.token_embedding[[1]].tolist() == [[2, 2.5, 3, 3.5]]


def test_a_float32_table_of_a_bundle(tiny_bundle_folder, tmp_path):
    table = open_bundle(with_table(tiny_bundle_folder, tmp_path / "b", "float32", None))
    assert table.token_embedding[[1]].tolist() == [[4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("dtype", "scale"), [("int8", None), ("float32", scales()), ("int8", scales(1))]
)
def test_scales_that_do_not_fit(tiny_bundle_folder, tmp_path, dtype, scale):
    bundle = open_bundle(with_table(tiny_bundle_folder, tmp_path / "b", dtype, scale))
    with pytest.raises(BundleError, match=f"token table is {dtype}"):
        _ = bundle.token_embedding


def test_a_manifest_from_before_there_were_scales(tiny_bundle_folder):
    raw = msgspec.json.decode((tiny_bundle_folder / MANIFEST_NAME).read_bytes())
    del raw["decoder"]["token_scale"]
    assert parse_manifest(msgspec.json.encode(raw)).decoder.token_scale is None
