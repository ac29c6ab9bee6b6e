import codecs
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from c2t.export.checkpoint.gene_dictionaries import pickled_dictionary
from c2t.export.checkpoint.gene_dictionaries.pickled_dictionary import read_pickled_dictionary
from c2t.runtime.system.errors import CheckpointError


def write(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_strings_and_numbers(tmp_path, protocol):
    value = {"<pad>": 0, "a": 300, "b": 70000, "c": 2**40, "d": -1, "e": 0.25, "f": "ENSG1", "ä": 1}
    assert read_pickled_dictionary(write(tmp_path / "d.pkl", value, protocol)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_scalars_become_plain_numbers(tmp_path, protocol):
    value = {"a": np.float64(1.1), "b": np.float32(0.5), "c": np.int16(-7), "d": np.uint8(9)}
    value["e"] = np.array([3.5], ">f8")[0]
    read = read_pickled_dictionary(write(tmp_path / "d.pkl", value, protocol))
    assert read == {name: number.item() for name, number in value.items()}
    assert [type(number) for number in read.values()] == [float, float, int, int, float]


def test_more_entries_than_one_batch(tmp_path):
    value = {f"ENSG{n}": f"ENSG{n // 2}" for n in range(5000)}
    assert read_pickled_dictionary(write(tmp_path / "d.pkl", value)) == value


class Malicious:
    def __init__(self, called, *arguments):
        self.reduced = (called, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("called", "arguments", "name"),
    [
        (os.system, ("touch {}",), "posix.system"),
        (eval, ("open('{}', 'w')",), "__builtin__.eval|builtins.eval"),
        (Path.touch, (Path("{}"),), "getattr|pathlib"),
        (np.frombuffer, (b"1234",), "frombuffer"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_pickle_is_named_and_not_run(tmp_path, called, arguments, name, protocol):
    mark = tmp_path / "ran"
    filled = [a.format(mark) if isinstance(a, str) else a for a in arguments]
    path = write(tmp_path / "d.pkl", {"a": 1, "b": Malicious(called, *filled)}, protocol)
    with pytest.raises(CheckpointError, match=name):
        read_pickled_dictionary(path)
    assert not mark.exists()


@pytest.mark.parametrize("arguments", [(5, "latin1"), ("a", "utf-8"), ("a",), ("\u20ac", "latin1")])
def test_bytes_of_something_else(tmp_path, arguments):
    path = write(tmp_path / "d.pkl", {"a": Malicious(codecs.encode, *arguments)}, 2)
    with pytest.raises(CheckpointError):
        read_pickled_dictionary(path)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"a": [1]}, "EMPTY_LIST"),
        ({"a": {"b": 1}}, "dict for 'a'"),
        ({"a": None}, "NoneType for 'a'"),
        ({"a": True}, "bool for 'a'"),
        ({"a": ("b", "c")}, "tuple for 'a'"),
        ({1: "a"}, "key of type int"),
        ({("a", "b"): "a"}, "key of type tuple"),
        ({"a": b"bytes"}, "bytes for 'a'"),
        (["a"], "EMPTY_LIST"),
        ("a", "str instead of a dictionary"),
        ({"a": {1, 2}}, "EMPTY_SET"),
        ({"a": np.array([1.0])}, "_reconstruct"),
        ({"a": np.complex128(1j)}, "NumPy type 'c16'"),
        ({"a": np.str_("b")}, "NumPy type 'U1'"),
        ({"a": np.datetime64(1, "s")}, "NumPy type 'M8'"),
    ],
)
def test_anything_else_is_refused(tmp_path, value, what):
    with pytest.raises(CheckpointError, match=what):
        read_pickled_dictionary(write(tmp_path / "d.pkl", value))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"a": 1})[:-3],
        b"\x80\x04s.",
        b"\x80\x04}}.",
        b"\x80\x04(u.",
    ],
)
def test_damaged_files_are_errors(tmp_path, content):
    path = tmp_path / "d.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_pickled_dictionary(path)


def test_missing_and_oversized_files_are_errors(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="cannot read"):
        read_pickled_dictionary(tmp_path / "none.pkl")
    monkeypatch.setattr(pickled_dictionary, "MAX_BYTES", 10)
    with pytest.raises(CheckpointError, match="more than the 10"):
        read_pickled_dictionary(write(tmp_path / "d.pkl", {"abc": "defghijk"}))
