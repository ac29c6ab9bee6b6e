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
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pickled_dictionary(tmp_path / "none.pkl")
    monkeypatch.setattr(pickled_dictionary, "MAX_BYTES", 10)
    with pytest.raises(CheckpointError, match="at most 10 are read"):
        read_pickled_dictionary(write(tmp_path / "d.pkl", {"abc": "defghijk"}))


DTYPE = b"cnumpy\ndtype\n"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        # Tuples of one value twice, a hundred times: 2 to the 100 values, as text.
        (b"\x80\x02K\x01" + b"q\x01h\x01\x86" * 100 + b"}R.", "tuple that is long or holds"),
        (b"\x80\x02)" + b"\x85" * 60_000 + b".", "tuple that is long or holds"),
        (b"\x80\x02" + b"(" * 30_000 + b"t" * 30_000 + b".", "tuple that is long or holds"),
        (b"\x80\x02(" + b"K\x01" * 1000 + b"t.", "tuple that is long or holds"),
        (b"\x80\x02" + b"}" * 100 + b".", "more than 8 dictionaries"),
        (DTYPE + b"(V" + b"x" * 10_000 + b"\nI0\nI1\ntR.", "the NumPy type 'x{60}';"),
        (DTYPE + b"(I5\nI0\nI1\ntR.", "the NumPy type 5"),
        (DTYPE + b"}R.", "a call with a dict"),
        (b"c_codecs\nencode\n(V" + b"x" * 1000 + b"\nVlatin1\ntR.", "a str in the encoding"),
        (SCALAR + b"(" + DTYPE + b"(Vf8\nI0\nI1\ntR" + b"Vx\ntR.", "a NumPy scalar that is no"),
        (b"(dVa\nL" + b"9" * 4000 + b"L\ns.", "an integer of more than 64 bits"),
        (b"(dVa\nL" + b"9" * 5000 + b"L\ns.", "damaged or no pickle"),
        (b"\x80\x02}" + b"0" * 3 + b".", "the instruction POP"),
        (b"\x80\x04K\x01(s.", "it takes more than there is"),
        (b"\x80\x04h\xff.", "damaged or no pickle"),
    ],
)
def test_small_files_that_ask_for_much_are_refused(tmp_path, content, what):
    path = tmp_path / "d.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=what) as caught:
        read_pickled_dictionary(path)
    assert caught.value.hint
    assert len(str(caught.value)) < 500


def test_a_number_type_may_be_given_its_byte_order_often(tmp_path):
    state = b"(I3\nV>\nNNNI-1\nI-1\nI0\ntb"
    content = b"(dVa\n" + SCALAR + b"(" + DTYPE + b"(Vf8\nI0\nI1\ntR" + state * 10_000
    path = tmp_path / "d.pkl"
    path.write_bytes(content + b"C\x08" + np.array(1.5, ">f8").tobytes() + b"tRs.")
    assert read_pickled_dictionary(path) == {"a": 1.5}


def test_more_instructions_than_a_dictionary_takes(tmp_path, monkeypatch):
    path = write(tmp_path / "d.pkl", {f"ENSG{n}": n for n in range(100)})
    monkeypatch.setattr(pickled_dictionary, "MAX_INSTRUCTIONS", 100)
    with pytest.raises(CheckpointError, match="more than 100 instructions"):
        read_pickled_dictionary(path)


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1, 1 << 1500])
@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_integers_that_no_dictionary_holds(tmp_path, number, protocol):
    with pytest.raises(CheckpointError):
        read_pickled_dictionary(write(tmp_path / "d.pkl", {"a": number}, protocol))
