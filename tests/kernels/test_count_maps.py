"""Cells as JSON are read as the definition reads them, or are left to a full reader."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from c2t.kernels.count_maps.definition import read_count_maps_reference
from c2t.kernels.count_maps.native import CountMapReader, count_map_reader

COUNTS = (0, 0.0, 1, 2, 17, 3.5, 0.1, 1e-7, 1e22, 123456789, 1.5e300, 2**53, 2**53 - 1)


@pytest.fixture
def reader() -> CountMapReader:
    found = count_map_reader()
    if found is None:
        pytest.skip("no compiled library")
    return found


def assert_same(reader: CountMapReader, cells: list[bytes]) -> None:
    rows, defined = reader.read(cells), read_count_maps_reference(cells)
    assert rows is not None, cells
    np.testing.assert_array_equal(rows.indptr, defined.indptr)
    np.testing.assert_array_equal(rows.indices, defined.indices)
    np.testing.assert_array_equal(rows.data, defined.data)
    assert tuple(reader.names[number] for number in rows.numbers) == defined.names
    assert rows.data.dtype == np.float64
    assert rows.indices.dtype == np.int32


def random_cell(rng: random.Random) -> dict[str, float]:
    names = rng.sample(range(3000), rng.randrange(60))
    return {"G" * rng.randrange(60) + str(n): rng.choice(COUNTS) for n in names}


def test_cells_are_read_as_the_definition_reads_them(reader):
    rng = random.Random(5)
    for _ in range(200):
        cells = [random_cell(rng) for _ in range(rng.randrange(1, 6))]
        indent = rng.choice((None, 0, 2))
        assert_same(reader, [json.dumps(cell, indent=indent).encode() for cell in cells])


@pytest.mark.parametrize(
    "cell",
    [
        "{}",
        " {\t} \r\n",
        '{"A":1}',
        ' { "A" : 1 , "B" : 2.50 } ',
        '{"A":0,"B":0.000}',
        '{"A":0e999,"B":1E5,"C":1e+3,"D":12e-3,"E":0.5e1}',
        '{"a b":1,"A\'":2,"~!@#$%^&*()":3}',
        '{"A":9007199254740993,"B":0.30000000000000004,"C":4.9e-324}',
        '{"A":' + "0." + "0" * 40 + "1}",
        '{"' + "N" * 64 + '":1}',
    ],
)
def test_all_ways_to_write_plain_json(reader, cell):
    if reader.read([b'{"A":1e-30}']) is None and any(c in cell for c in ("992", "e-3", "0001")):
        pytest.skip("this library knows no way to the nearest double for every number")
    assert_same(reader, [cell.encode()])


@pytest.mark.parametrize(
    "cell",
    [
        *("", " ", "{", "}", "[]", "[1]", "1", "null", '"A"', "{}{}", "{},", "x{}"),
        *('{"A"}', '{"A":}', '{"A":1,}', '{,"A":1}', '{"A":1 "B":2}', '{"A":1}}', "{A:1}"),
        *('{"A":-1}', '{"A":-0}', '{"A":+1}', '{"A":.5}', '{"A":1.}', '{"A":01}', '{"A":1e}'),
        *('{"A":1e400}', '{"A":NaN}', '{"A":Infinity}', '{"A":0x1}', '{"A":1_0}', '{"A":1 0}'),
        *('{"A":null}', '{"A":"1"}', '{"A":[1]}', '{"A":{}}', '{"A":true}', '{"A":1e99999999999}'),
        *('{"":1}', '{"A\\n":1}', '{"\\u0041":1}', '{"A\x01":1}', '{"É":1}', '{"A":1,"A":2}'),
        *('{"A":1,"B":0,"A":0}', '{"' + "N" * 65 + '":1}', "\ufeff{}", '{"A":1}\x00', "{\x0b}"),
        '{"A":12345678901234567890123}',
    ],
)
def test_what_is_not_plain_is_left_to_others(reader, cell):
    assert reader.read([cell.encode()]) is None
    assert reader.read([b'{"A":1}', cell.encode()]) is None
    assert_same(reader, [b'{"A":1}', b'{"B":2}'])  # it goes on


def test_every_beginning_of_a_cell_is_not_plain(reader):
    whole = b'{"CD3E": 12.5e-1, "ENSG00000141510": 30}'
    for length in range(len(whole)):
        assert reader.read([whole[:length]]) is None, whole[:length]


def test_bytes_at_random_are_read_or_left_but_never_wrong(reader):
    rng = random.Random(7)
    whole = json.dumps({f"G{n}": n / 4 for n in range(20)}).encode()
    for _ in range(3000):
        broken = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.choice(b'{}[]",:.eE+-0123456789 \\aG\xff\x00')
        if reader.read([broken]) is not None:
            assert_same(reader, [bytes(broken)])


def test_the_nearest_double_is_read(reader):
    rng = random.Random(9)
    numbers = [rng.random() * 10.0 ** rng.randrange(-30, 30) for _ in range(2000)]
    numbers += [round(rng.random() * 100, digits) for digits in range(12) for _ in range(50)]
    cells = [json.dumps({"A": number}).encode() for number in numbers]
    read = [cell for cell in cells if reader.read([cell]) is not None]
    assert len(read) > 500
    assert_same(reader, read)


def test_threads_may_share_a_reader(reader):
    rng = random.Random(11)
    requests = [[json.dumps(random_cell(rng)).encode() for _ in range(4)] for _ in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda cells: assert_same(reader, cells), requests))


class FullMemory:
    """The compiled library on a machine whose memory is full when names are added."""

    def __init__(self, library) -> None:
        self.library = library

    def __getattr__(self, name: str):
        return getattr(self.library, name)

    def c2t_names_add(self, *_) -> int:
        return 1


def test_after_memory_ran_out_no_gene_is_taken_for_another(reader):
    assert_same(reader, [b'{"MS4A1":1}'])
    plain = reader._library
    reader._library = FullMemory(plain)
    with pytest.raises(MemoryError):
        reader.read([b'{"CD3E":5}'])
    reader._library = plain
    for cell in (b'{"LYZ":7}', b'{"CD3E":5}', b'{"MS4A1":1}'):
        assert reader.read([cell]) is None  # left to a reader without numbers


def test_memory_that_runs_out_while_the_list_grows_is_no_shift_either(reader):
    class FullList(list):
        def extend(self, names):
            super().extend(list(names)[:1])
            raise MemoryError

    reader.names = FullList(reader.names)
    with pytest.raises(MemoryError):
        reader.read([b'{"CD3E":5,"CD4":1}'])
    reader.names = list(reader.names)
    assert reader.read([b'{"LYZ":7}']) is None
