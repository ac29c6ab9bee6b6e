"""The native encoder against its definition, whatever its sizes, cells and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from encoders import random_encoder

from c2t.kernels.encoder.cpu import (
    CpuEncoder,
    PackedEncoder,
    encoder_kernels,
    encoder_problem,
)
from c2t.kernels.encoder.definition import encoder_reference
from c2t.kernels.encoder.weights import HostEncoder
from c2t.kernels.native import LIBRARY_VARIABLE

KERNELS = encoder_kernels()
pytestmark = pytest.mark.skipif(KERNELS is None, reason="no encoder of ours runs on this processor")
# Norm of a row's difference over its norm. In int8 a float that is rounded otherwise moves an
# activation by a whole step; most rows do not differ so.
USUAL, WORST = 0.01, 0.03


def encoder(**others: object) -> HostEncoder:
    usual = {"layers": 2, "hidden_size": 64, "intermediate_size": 160, "heads": 4}
    return random_encoder(**usual | others)  # type: ignore[arg-type]


ENCODERS = {
    "usual": encoder(),
    "first rows": encoder(rows=7),
    "one layer of first rows": encoder(layers=1, rows=40),
    "odd": encoder(hidden_size=30, intermediate_size=37, heads=3),
    "gelu": encoder(activation="gelu", rows=20),
    "some in float32": encoder(floats=("qkv", "up"), rows=20),
    "wide": encoder(hidden_size=320, intermediate_size=700, heads=2),
}


def opened(of: HostEncoder, threads: int = 2) -> CpuEncoder:
    return CpuEncoder(PackedEncoder(KERNELS, of), threads=threads)


def drawn(of: HostEncoder, *shape: int, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(*shape, of.hidden_size)).astype(np.float32)


def differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)


@pytest.mark.parametrize("of", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 19), (3, 7), (1, 200)])
def test_agrees_with_the_definition(of: HostEncoder, shape: tuple[int, int]) -> None:
    embeddings = drawn(of, *shape)
    found, expected = opened(of).run(embeddings).hidden, encoder_reference(of, embeddings)
    assert found.shape == expected.shape
    rows = differences(found, expected)
    assert np.median(rows) <= USUAL
    assert rows.max() <= WORST


def test_floats_are_exact_where_all_linears_are() -> None:
    """But for attention, whose products are of 8-bit integers in the definition too."""
    floats = ("qkv", "query", "output", "up", "down")
    of = encoder(floats=floats, activation="gelu", rows=9)
    embeddings = drawn(of, 2, 30)
    rows = differences(opened(of).run(embeddings).hidden, encoder_reference(of, embeddings))
    assert np.median(rows) < 2e-3


@pytest.mark.parametrize("rows", [None, 50])
def test_a_cell_s_numbers_depend_on_nothing_else(rows: int | None) -> None:
    """To the bit: neither other cells, nor threads, nor earlier runs."""
    of = encoder(rows=rows)
    embeddings = drawn(of, 5, 150)
    alone = opened(of, 1)
    expected = np.concatenate([alone.run(cell[None]).hidden for cell in embeddings])
    for threads in (1, 2, 3, 8):
        several = opened(of, threads)
        several.run(drawn(of, 1, 300))
        np.testing.assert_array_equal(several.run(embeddings).hidden, expected)


@pytest.mark.parametrize("others", [{}, {"hidden_size": 504}, {"rows": 50}])
def test_groups_of_heads_change_no_bit(others: dict[str, int]) -> None:
    """Two threads take the heads of two such cells in groups; eight take all of them at once."""
    of = encoder(**{"hidden_size": 512, "heads": 8, "floats": ("qkv",), **others})
    embeddings = drawn(of, 4, 700)
    found = opened(of, 2).run(embeddings).hidden
    np.testing.assert_array_equal(opened(of, 8).run(embeddings).hidden, found)
    np.testing.assert_array_equal(opened(of, 1).run(embeddings[3:]).hidden, found[3:])


PEAK = """
import numpy as np
from c2t.kernels.encoder.cpu import CpuEncoder, PackedEncoder, encoder_kernels
from c2t.runtime.bench.record import peak_resident_bytes
from encoders import random_encoder
of = random_encoder(layers=2, hidden_size=512, intermediate_size=64, heads=16, rows=30)
embeddings = np.random.default_rng(1).normal(size=(1, 4096, 512)).astype(np.float32)
kernel = CpuEncoder(PackedEncoder(encoder_kernels(), of), threads=2)
kernel.run(embeddings[:, :64].copy())
before = peak_resident_bytes()
kernel.run(embeddings, used_up=True)
print(peak_resident_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.skipif(LIBRARY_VARIABLE in os.environ, reason="a sanitizer takes memory of its own")
def test_queries_keys_and_values_of_all_heads_are_never_in_memory_together() -> None:
    """Of 4,096 rows of 512 columns, these are 25 MB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout) < 20 << 20


def test_threads_take_turns() -> None:
    of = encoder()
    shared = opened(of)
    cells = [drawn(of, 1, 60 + seed, seed=seed) for seed in range(6)]
    expected = [shared.run(cell).hidden for cell in cells]
    found: dict[int, np.ndarray] = {}

    def run(index: int) -> None:
        for _ in range(5):
            found[index] = shared.run(cells[index]).hidden

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(cells))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, wanted in enumerate(expected):
        np.testing.assert_array_equal(found[index], wanted)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_visible_and_costs_no_other_cell(bad: float, layers: int) -> None:
    if bad == 3e38 and layers == 1:
        pytest.skip("finite, and no sum of squares of a row that leaves the layer")
    of = encoder(rows=10, layers=layers)
    embeddings = drawn(of, 3, 40)
    expected = opened(of).run(embeddings).hidden
    embeddings[1, 25, 3] = bad  # a row that does not leave the last layer
    found = opened(of).run(embeddings).hidden
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_a_clone_shares_weights_and_nothing_else() -> None:
    of = encoder(rows=20)
    first, embeddings = opened(of), drawn(of, 2, 60)
    other = first.clone()
    expected = first.run(embeddings).hidden
    assert other.packed is first.packed
    first.close()
    np.testing.assert_array_equal(other.run(embeddings).hidden, expected)


def test_no_cells_are_no_error() -> None:
    of = encoder()
    assert opened(of).run(drawn(of, 0, 5)).hidden.shape == (0, 5, 64)


def test_other_arrays_are_refused() -> None:
    of = encoder()
    kernel = opened(of)
    with pytest.raises(ValueError, match=r"embeddings are float64 \[1, 5, 64\]"):
        kernel.run(drawn(of, 1, 5).astype(np.float64))
    with pytest.raises(ValueError, match=r"embeddings are float32 \[1, 5, 30\]"):
        kernel.run(drawn(of, 1, 5)[..., :30])
    every_second = drawn(of, 2, 10)[:, ::2]
    np.testing.assert_array_equal(
        kernel.run(every_second).hidden, kernel.run(every_second.copy()).hidden
    )


def test_heads_that_do_not_fit_are_named() -> None:
    assert encoder_problem(encoder()) == ""
    assert encoder_problem(encoder(heads=3)) == "3 heads over 64 columns"
    assert encoder_problem(encoder(hidden_size=514, heads=2)) == "2 heads over 514 columns"


def test_what_native_code_would_write_beyond_is_named() -> None:
    plain, first = encoder(), encoder(rows=7)
    assert encoder_problem(first) == ""
    assert "rows of the last layer" in encoder_problem(replace(plain, rows=7))
    assert "rows of the last layer" in encoder_problem(replace(first, rows=None))
    twice = replace(first, layers=[first.layers[1], first.layers[1]])
    assert encoder_problem(twice) == "queries of their own in a layer that is not the last"
    assert encoder_problem(replace(plain, scale=0.0)) == "a scale of 0.0"


RUN = """
import os, sys
import numpy as np
from c2t.kernels.encoder.cpu import CpuEncoder, PackedEncoder, encoder_kernels
from encoders import random_encoder
of = random_encoder(layers=2, hidden_size=72, intermediate_size=100, heads=3, rows=30)
embeddings = np.random.default_rng(1).normal(size=(2, 90, 72)).astype(np.float32)
kernel = CpuEncoder(PackedEncoder(encoder_kernels(), of), threads=2)
found = kernel.run(embeddings).hidden
if sys.argv[1] == "fork":
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(kernel.run(embeddings).hidden, found) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(kernel.run(embeddings).hidden, found)
np.save(sys.stdout.buffer, found)
"""


def run_elsewhere(mode: str, **environment: str) -> np.ndarray:
    import io

    process = subprocess.run(
        [sys.executable, "-c", RUN, mode],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        check=True,
        timeout=120,
    )
    found: np.ndarray = np.load(io.BytesIO(process.stdout))
    return found


@pytest.mark.parametrize("isa", ["scalar", "avx2"])
def test_instruction_sets_agree(isa: str) -> None:
    rows = differences(run_elsewhere("", C2T_FORCE_ISA=isa), run_elsewhere(""))
    assert np.median(rows) <= USUAL
    assert rows.max() <= WORST


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    run_elsewhere("fork")
