"""JSON and arrays of strangers: damaged, too long or of another kind is the caller's error."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest

from c2t.runtime.system.checked_read import (
    decode_json,
    json_bytes,
    read_arrays,
    read_bounded,
    read_json,
)
from c2t.runtime.system.errors import BundleError

BYTES_MAX = 10_000


def write(path, method=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array))
    return stream.getvalue()


def header(shape, dtype="<f8"):
    stream = io.BytesIO()
    form = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, form)
    return stream.getvalue()


def read(path, *names):
    return read_arrays(path, names, bytes_max=BYTES_MAX, error=BundleError, hint="export it again")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_by_name(tmp_path, save):
    save(tmp_path / "a.npz", a=np.arange(3), b=np.array([b"x"]), c=np.zeros(2))
    found = read(tmp_path / "a.npz", "b", "a")
    assert {name: array.tolist() for name, array in found.items()} == {"b": [b"x"], "a": [0, 1, 2]}
    assert list(found) == ["b", "a"]


def test_small_file_that_unpacks_to_much(tmp_path):
    path = write(tmp_path / "a.npz", a=npy([1]), b=npy(np.zeros(10_000)))
    assert path.stat().st_size < 1000
    with pytest.raises(BundleError, match=r"unpacks to 80,\d+ bytes; at most 10,000 are read"):
        read(path, "a")
    (tmp_path / "b.npz").write_bytes(bytes(BYTES_MAX + 1))
    with pytest.raises(BundleError, match="has 10,001 bytes"):
        read(tmp_path / "b.npz", "a")


def test_size_that_lies(tmp_path):
    path = write(tmp_path / "a.npz", a=npy(np.zeros(5000)))
    content = bytearray(path.read_bytes())
    size = len(npy(np.zeros(5000))).to_bytes(4, "little")
    assert content.count(size) == 2  # in front of the member, and in the list at the end
    path.write_bytes(content.replace(size, (100).to_bytes(4, "little")))
    with pytest.raises(BundleError):
        read(path, "a")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing(tmp_path, method):
    path = write(tmp_path / "a.npz", method, a=npy([1]))
    with pytest.raises(BundleError, match="packed in a way"):
        read(path, "a")


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"no array",
        npy(np.arange(9))[:-4],
        header((1 << 62,)),
        header((1 << 40, 1 << 40)),
        header((-3,)),
        header((2,), "|O") + b"\x80\x04K\x01.",
        b"\x93NUMPY\x01\x00\x08\x00{{{{{{{\n",
    ],
)
def test_damaged_arrays(tmp_path, member):
    with pytest.raises(BundleError):
        read(write(tmp_path / "a.npz", a=member), "a")


def test_every_damaged_byte_is_an_error_or_harmless(tmp_path):
    path = write(tmp_path / "a.npz", a=npy(np.arange(40)))
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read(path, "a")
        except BundleError:
            continue
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(BundleError):
            read(path, "a")


def test_not_an_archive(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(2))
    for path in (tmp_path / "none.npz", tmp_path, tmp_path / "a.npy"):
        with pytest.raises(BundleError, match="cannot be read"):
            read(path, "a")
    np.savez(tmp_path / "a.npz", a=np.zeros(2))
    with pytest.raises(BundleError, match=r"a\.npz .*: it has no array named b, c"):
        read(tmp_path / "a.npz", "a", "b", "c")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BundleError, match="it is not a regular file"):
            read(path, "a")
        with pytest.raises(BundleError, match="it is not a regular file"):
            read_point(path)


@dataclass
class Point:
    x: int
    y: int = 0


def read_point(path, bytes_max=100):
    return read_json(path, Point, bytes_max=bytes_max, error=BundleError, hint="write it again")


def test_json_as_it_was_written(tmp_path):
    path = tmp_path / "point.json"
    path.write_bytes(json_bytes(Point(3, 4)))
    assert path.read_text() == '{\n "x": 3,\n "y": 4\n}\n'
    assert read_point(path) == Point(3, 4)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Input data was truncated"),
        (b'{"x": "3"}', "Expected `int`, got `str`"),
        (b'{"y": 3}', "missing required field `x`"),
        (b'{"x": 3}\xff', "malformed"),
        (b'{"z":' * 9_000, "recursion"),
        (b" " * 100_001, "has 100,001 bytes; at most 100,000 are read"),
    ],
)
def test_json_that_is_refused(tmp_path, content, problem):
    path = tmp_path / "point.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=problem) as caught:
        read_point(path, bytes_max=100_000)
    assert str(path) in caught.value.problem
    assert caught.value.hint == "write it again"


def test_what_the_file_should_be_is_said(tmp_path):
    about = {"error": BundleError, "hint": "write it again", "what": "a point"}
    with pytest.raises(BundleError, match=r"none is not a point: No such file"):
        read_bounded(tmp_path / "none", bytes_max=9, **about)
    with pytest.raises(BundleError, match=r"line 3 is not a point: JSON is malformed"):
        decode_json(b"x", Point, name="line 3", **about)
