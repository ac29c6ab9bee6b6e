"""The CUDA sources compile for every architecture, without spilled registers.

Nothing here runs on a GPU.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from c2t.kernels.cuda.compile import SOURCES, compile_cubin, source_path
from c2t.kernels.decoder_step.layout import (
    Int8Linears,
    Ring,
    StepLayout,
)
from c2t.kernels.decoder_step.sizes import StepSizes

ARCHITECTURES = (80, 86, 89, 90, 120)
LLAMA_1B = StepSizes(
    layers=16,
    hidden_size=2048,
    intermediate_size=8192,
    heads=32,
    kv_heads=8,
    head_size=64,
    vocabulary_size=128256,
)
BLOCKS, SHARED_BYTES = 132, 232_448  # of an H200
FEWER_SHARED_BYTES = 101_376  # of sm_86, sm_89 and sm_120
ALL, NONE = Int8Linears(*[(1 << 16) - 1] * 4, 1), Int8Linears()
SOME = ALL._replace(down=(1 << 15) - 1)


def embedding(hidden_size: int, table: int, out: int) -> dict[str, int]:
    return {"C2T_HIDDEN_SIZE": hidden_size, "C2T_TABLE": table, "C2T_OUT": out}


def packing(table: int) -> dict[str, int]:
    order = StepLayout(sizes=LLAMA_1B, int8=ALL if table == 3 else NONE).order_macros(BLOCKS)
    return {"C2T_TABLE": table, "C2T_THREADS": 256, **order}


def step(
    rows: int, int8: Int8Linears = NONE, *, shared_bytes: int = SHARED_BYTES
) -> dict[str, int]:
    layout = StepLayout(sizes=LLAMA_1B, int8=int8)
    ring = layout.ring(rows, blocks=BLOCKS, shared_bytes=shared_bytes)
    assert ring
    return layout.step_macros(rows, ring, BLOCKS)


VARIANTS = [
    ("gene_embedding", embedding(768, 1, 1)),
    ("gene_embedding", embedding(1152, 0, 0)),
    ("gene_embedding", embedding(1152, 3, 3)),
    ("token_rows", {"C2T_TABLE": 0, "C2T_OUT": 0}),
    ("token_rows", {"C2T_TABLE": 1, "C2T_OUT": 1}),
    ("token_rows", {"C2T_TABLE": 3, "C2T_OUT": 2}),
    ("choose_tokens", {"C2T_LOGITS": 0}),
    ("choose_tokens", {"C2T_LOGITS": 1}),
    ("pack_weights", packing(0)),
    ("pack_weights", packing(1)),
    ("pack_weights", packing(3)),
    ("decoder_step", step(8)),
    ("decoder_step", step(16)),
    ("decoder_step", step(8, ALL)),
    ("decoder_step", step(16, ALL)),
    ("decoder_step", step(32, ALL)),
    ("decoder_step", step(32, ALL, shared_bytes=FEWER_SHARED_BYTES)),
    ("decoder_step", step(64, ALL)),
    ("decoder_step", step(8, SOME)),
    ("decoder_step", step(16, SOME)),
]
# Registers spilled to memory stop the stream of weights. A step of 16 rows spills a few; one of 64
# where activations are read ahead; one of 32 where they are in registers.
SPILLED_BYTES = {
    (16, "NONE"): 128,
    (16, "ALL"): 64,
    (16, "SOME"): 192,
    (32, "ALL, in registers"): 384,
    (64, "ALL"): 160,
}


def types_of(macros: dict[str, int]) -> str:
    """Which linears are in int8, and whether activations of many rows are in registers."""
    down = macros.get("C2T_INT8_DOWN", 0)
    types = {NONE.down: "NONE", ALL.down: "ALL", SOME.down: "SOME"}[down]
    many = macros.get("C2T_ROWS", 0) > 16
    return f"{types}, in registers" if many and not macros["C2T_SHARED_ACTIVATIONS"] else types


@pytest.mark.slow
@pytest.mark.parametrize(("source", "macros"), VARIANTS)
def test_nvcc_compiles_without_spills(source: str, macros: dict[str, int], tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here")
    command = [nvcc, "-std=c++17", "-fatbin", "-Xptxas", "-v", f"-I{SOURCES}"]
    command += [f"-D{name}={value}" for name, value in macros.items()]
    command += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in ARCHITECTURES]
    command += ["-o", str(tmp_path / "out.fatbin"), str(source_path(source))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr, result.stderr
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", result.stderr)
    assert len(spills) == 2 * len(ARCHITECTURES), result.stderr
    used = re.findall(r"Used (\d+) registers", result.stderr)
    for number, arch in enumerate(ARCHITECTURES):
        stores, loads = spills[2 * number : 2 * number + 2]
        print(f"sm_{arch}: {used[number]} registers, {stores} bytes spilled, {loads} read again")
    allowed = SPILLED_BYTES.get((macros.get("C2T_ROWS", 0), types_of(macros)), 0)
    assert max(map(int, spills)) <= allowed, result.stderr


@pytest.mark.parametrize("arch", ["sm_80", "sm_120"])
@pytest.mark.usefixtures("nvrtc")
def test_nvrtc_compiles(arch: str) -> None:
    small = StepSizes(
        layers=2,
        hidden_size=256,
        intermediate_size=512,
        heads=4,
        kv_heads=2,
        head_size=64,
        vocabulary_size=1000,
    )
    some = Int8Linears(1, 2, 3, 3, 1)
    for source, macros in (
        ("gene_embedding", embedding(768, 1, 1)),
        ("token_rows", {"C2T_TABLE": 3, "C2T_OUT": 2}),
        ("choose_tokens", {"C2T_LOGITS": 1}),
        ("pack_weights", packing(1)),
        ("decoder_step", StepLayout(sizes=small).step_macros(16, Ring(1, 4), 16)),
        ("decoder_step", StepLayout(sizes=small, int8=some).step_macros(16, Ring(1, 4), 16)),
    ):
        assert compile_cubin(source, macros, arch).startswith(b"\x7fELF")
