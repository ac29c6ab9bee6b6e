"""The CUDA sources: compiled for every architecture, and their logic run on the host.

Nothing here is executed on a GPU; benchmarks/gpu_kernels.py does that where there is one.
"""

import ctypes
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tolerance import FLOAT32, worst_difference

from c2t.kernels.cuda.compile import SOURCES, source_path
from c2t.kernels.decoder_step.cuda import Ring, StepSizes
from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables, convert_tables
from c2t.kernels.tokens.cuda import (
    CHOICE_FINDING,
    CHOICE_PIECE,
    CHOICE_THREADS,
    choice_scratch_bytes,
)
from c2t.kernels.tokens.definition import choose_tokens_reference, token_rows_reference
from c2t.runtime.engines.cpu.logit_choices import LogitChoices

ARCHITECTURES = (80, 86, 89, 90, 120)
EMULATION = Path(__file__).parent / "cuda_emulation.cpp"
THREADS = 8  # of the emulated blocks
PIECE = 16 * THREADS  # columns of an emulated block of the choice


def embedding_macros(width, table, out):
    return [f"-DC2T_WIDTH={width}", f"-DC2T_TABLE={table}", f"-DC2T_OUT={out}"]


STEP_SIZES = StepSizes(
    layers=2,
    hidden_size=256,
    intermediate_size=512,
    heads=4,
    kv_heads=2,
    head_size=64,
    vocabulary=1000,
)
STEP_MACROS = STEP_SIZES.macros(16, Ring(1, 4), 16)
PACK_MACROS = {"C2T_THREADS": 256, **replace(STEP_SIZES, hidden_size=2048).order(16)}
PACK_FLAGS = [f"-D{name}={value}" for name, value in PACK_MACROS.items()]
VARIANTS = [
    ("gene_embedding", embedding_macros(768, 1, 1)),
    ("gene_embedding", embedding_macros(1152, 0, 0)),
    ("gene_embedding", embedding_macros(1152, 3, 3)),
    ("token_rows", ["-DC2T_TABLE=0", "-DC2T_OUT=0"]),
    ("token_rows", ["-DC2T_TABLE=1", "-DC2T_OUT=1"]),
    ("token_rows", ["-DC2T_TABLE=3", "-DC2T_OUT=2"]),
    ("choose_tokens", ["-DC2T_LOGITS=0"]),
    ("choose_tokens", ["-DC2T_LOGITS=1"]),
    ("pack_weights", ["-DC2T_TABLE=0", *PACK_FLAGS]),
    ("pack_weights", ["-DC2T_TABLE=1", *PACK_FLAGS]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "flags"), VARIANTS)
def test_nvcc_compiles_without_spills(source, flags, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here")
    command = [nvcc, "-std=c++17", "-fatbin", "-Xptxas", "-v", f"-I{SOURCES}", *flags]
    command += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in ARCHITECTURES]
    command += ["-o", str(tmp_path / "out.fatbin"), str(source_path(source))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr, result.stderr
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", result.stderr)
    assert len(spills) == 2 * len(ARCHITECTURES), result.stderr
    assert set(spills) == {"0"}, result.stderr


@pytest.fixture
def compile_cubin():
    """NVRTC, which needs no GPU."""
    pytest.importorskip("cuda.core", reason="cuda-core is not installed: c2t[gpu]")
    from c2t.kernels.cuda.compile import compile_cubin, nvrtc_version
    from c2t.kernels.errors import KernelError

    try:
        nvrtc_version()
    except KernelError as error:
        pytest.skip(error.problem)
    return compile_cubin


def test_what_the_benchmark_replaces_in_the_step_kernel_is_there(
    compile_cubin, tmp_path, monkeypatch
):
    """Its edits of the sources are found, and what they make compiles."""
    monkeypatch.syspath_prepend(SOURCES.parent / "benchmarks")
    from gpu_step import WITHOUT, edited_source, stamps_of

    device = SimpleNamespace(_kernels={})
    for edits in (list(WITHOUT.values()), stamps_of(4 * STEP_SIZES.layers + 1)):
        with edited_source(device, tmp_path, edits):
            assert compile_cubin("decoder_step", STEP_MACROS, "sm_90").startswith(b"\x7fELF")


def test_nvrtc_compiles(compile_cubin):
    for arch in ("sm_80", "sm_120"):
        macros = {"C2T_WIDTH": 768, "C2T_TABLE": 1, "C2T_OUT": 1}
        assert compile_cubin("gene_embedding", macros, arch).startswith(b"\x7fELF")
        macros = {"C2T_TABLE": 3, "C2T_OUT": 2}
        assert compile_cubin("token_rows", macros, arch).startswith(b"\x7fELF")
        assert compile_cubin("choose_tokens", {"C2T_LOGITS": 1}, arch).startswith(b"\x7fELF")
        macros = {"C2T_TABLE": 1, **PACK_MACROS}
        assert compile_cubin("pack_weights", macros, arch).startswith(b"\x7fELF")
        assert compile_cubin("decoder_step", STEP_MACROS, arch).startswith(b"\x7fELF")


def emulate(folder, source, *macros):
    """The emulated kernel as a C function."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")
    library = folder / f"{source}.so"
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", *macros]
    command += [
        f"-I{SOURCES}",
        f'-DC2T_SOURCE="{source_path(source)}"',
        "-o",
        str(library),
        str(EMULATION),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return ctypes.CDLL(str(library)).emulate


def address(array):
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


@pytest.mark.parametrize(
    ("width", "storage", "dtype"),
    [(7, "float32", "float32"), (256, "int8", "uint16"), (63, "int8", "int8")],
)
def test_the_logic_of_the_gene_embedding(width, storage, dtype, tmp_path):
    draw = np.random.default_rng(0)
    plain = GeneEmbeddingTables(
        word=draw.normal(size=(20, width)).astype(np.float32),
        position=draw.normal(size=(6, width)).astype(np.float32),
        token_type=draw.normal(size=width).astype(np.float32),
        gamma=draw.normal(size=width).astype(np.float32),
        beta=draw.normal(size=width).astype(np.float32),
    )
    tables = convert_tables(plain, np.dtype(storage))
    tokens = draw.integers(0, 20, (3, 6)).astype(np.int32)
    lengths = np.array([5, 0, 2], np.int32)
    scale = 0.03 if dtype == "int8" else None
    out = np.full((3, 5, width), 0x2B, dtype)
    numbers = TYPE_NUMBER[storage], TYPE_NUMBER[dtype]
    function = emulate(
        tmp_path, "gene_embedding", "-DC2T_WARPS=1", *embedding_macros(width, *numbers)
    )
    names = ("word", "position", "word_scale", "position_scale", "token_type", "gamma", "beta")
    function(
        address(tokens),
        address(lengths),
        *(address(getattr(tables, name)) for name in names),
        address(out),
        *(ctypes.c_longlong(n) for n in (3, 5, 6)),
        ctypes.c_float(tables.epsilon),
        ctypes.c_float(scale or 1.0),
    )
    first = np.ascontiguousarray(tokens[:, :5])
    expected = embed_genes_reference(first, lengths, tables, np.empty_like(out), out_scale=scale)
    if dtype == "uint16":
        out, expected = ((a.astype(np.uint32) << 16).view(np.float32) for a in (out, expected))
    tolerance = {"float32": FLOAT32, "uint16": 2.0**-7, "int8": 0}[dtype]
    assert worst_difference(out, expected) <= tolerance


@pytest.mark.parametrize(
    ("storage", "dtype"), [("float32", "float32"), ("int8", "float32"), ("int8", "uint16")]
)
def test_the_logic_of_the_token_rows(storage, dtype, tmp_path):
    draw = np.random.default_rng(2)
    table = draw.integers(-128, 128, (11, 19)).astype(storage)
    scale = draw.random(11).astype(np.float32) if storage == "int8" else None
    token_ids = np.array([3, -1, 10, 0, -1], np.int32)
    given = draw.normal(size=(5, 19)).astype(np.float32)
    out = np.full((5, 19), 0x2B, dtype)
    macros = f"-DC2T_TABLE={TYPE_NUMBER[storage]}", f"-DC2T_OUT={TYPE_NUMBER[dtype]}"
    function = emulate(tmp_path, "token_rows", f"-DC2T_THREADS={THREADS}", *macros)
    for rows in (given, None):
        if rows is None:
            token_ids = np.abs(token_ids)
        function(
            *(address(array) for array in (token_ids, table, scale, rows, out)),
            *(ctypes.c_longlong(n) for n in (5, 11, 19)),
        )
        expected = token_rows_reference(token_ids, table, scale, rows, dtype)
        np.testing.assert_array_equal(out, expected)


@pytest.fixture(scope="module")
def choice(tmp_path_factory):
    """The emulated choice; its scratch must come back fit for the next call."""
    folder = tmp_path_factory.mktemp("choice")
    function = emulate(folder, "choose_tokens", f"-DC2T_THREADS={THREADS}", "-DC2T_LOGITS=0")

    def choose(logits, banned, *, backwards=False):
        rows, vocabulary = logits.shape
        pieces = -(-vocabulary // PIECE)
        scratch = np.full((rows, pieces + 1, 4), 0x2B, np.int32)
        scratch[:, pieces] = 0
        tokens, probability, finite = (np.full(rows, 77, d) for d in ("i4", "f4", "i4"))
        result = tokens, probability, finite
        first = None
        for _ in range(2):
            function(
                *(address(a) for a in (logits, banned if banned.size else None, scratch, *result)),
                *(ctypes.c_longlong(rows), vocabulary, banned.shape[1], int(backwards)),
            )
            assert not scratch[:, pieces].any(), "a ticket was not reset"
            found = [array.tobytes() for array in result]
            assert found == (first or found)
            first = found
        return tokens, probability, finite.astype(bool)

    return choose


def assert_chosen(found, expected):
    tokens, probability, finite = found
    np.testing.assert_array_equal(finite, expected[2])
    np.testing.assert_array_equal(tokens[finite], expected[0][finite])
    np.testing.assert_allclose(probability, expected[1], rtol=1e-5)


# Less than a piece, less than a vector; whole pieces, aligned rows and not; the last piece short.
@pytest.mark.parametrize("vocabulary", [3, 101, PIECE, 3 * PIECE, 3 * PIECE + 1, 5 * PIECE - 4])
def test_the_logic_of_the_choice(vocabulary, choice):
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(9, vocabulary)).astype(np.float32) * 3
    first, middle, last = 0, vocabulary // 2, vocabulary - 1
    logits[1, [last, first, middle]] = 50  # ties, in three threads, in three pieces
    logits[2, last], logits[3, first], logits[4] = np.nan, np.inf, -np.inf
    logits[5, : vocabulary - 1] = -np.inf
    logits[6, middle] = 1e4
    logits[7, last] = -np.inf
    bans = [[], [first], [], [], [], [], [middle], draw.permutation(vocabulary)[: vocabulary // 2]]
    bans.append(range(vocabulary))
    banned = np.full((9, vocabulary), -1, np.int32)
    for row, tokens in enumerate(bans):
        banned[row, : len(tokens)] = list(tokens)
    for ban in (banned, banned[:, :0].copy()):
        expected = choose_tokens_reference(logits, ban)
        assert expected[2].tolist() == [True, True, False, False, False, True, True, True, True]
        assert_chosen(choice(logits, ban), expected)


@pytest.mark.parametrize("vocabulary", [4 * PIECE, 4 * PIECE - 1])
def test_a_row_is_chosen_from_alike_alone_among_others_and_in_any_order_of_blocks(
    vocabulary, choice
):
    draw = np.random.default_rng(5)
    logits = draw.normal(size=(17, vocabulary)).astype(np.float32) * 3
    banned = draw.integers(-1, vocabulary, (17, 9)).astype(np.int32)
    banned[:, 0] = logits.argmax(axis=1)
    together = choice(logits, banned)
    assert_chosen(together, choose_tokens_reference(logits, banned))
    backwards = choice(logits, banned, backwards=True)
    for row in range(17):
        # Of an odd vocabulary the rows are aligned in four ways; a copy of one always is.
        alone = choice(logits[[row]], banned[[row]])
        for whole, reverse, one in zip(together, backwards, alone, strict=True):
            assert whole[row].tobytes() == reverse[row].tobytes() == one[0].tobytes()


def test_the_scratch_of_a_choice_is_that_of_its_source():
    source = source_path("choose_tokens").read_text()
    assert f"#define C2T_THREADS {CHOICE_THREADS}  " in source
    assert f"COLUMNS = {CHOICE_PIECE // CHOICE_THREADS};" in source
    assert choice_scratch_bytes(17, CHOICE_PIECE) == 17 * 2 * CHOICE_FINDING
    assert choice_scratch_bytes(1, CHOICE_PIECE + 1) == 3 * CHOICE_FINDING


def test_the_choice_is_that_of_the_cpu_engine():
    draw = np.random.default_rng(4)
    logits = draw.normal(size=(2, 3, 101)).astype(np.float32) * 3
    banned = draw.integers(-1, 101, (2, 3, 40)).astype(np.int32)
    expected = choose_tokens_reference(logits.reshape(6, 101), banned.reshape(6, 40))
    choices = LogitChoices(logits, banned)
    assert choices.tokens.reshape(-1).tolist() == expected[0].tolist()
    found = choices.probabilities([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(found, expected[1], rtol=1e-5)
