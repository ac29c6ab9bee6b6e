"""What AVX-512 kernels do in place of divisions has the bits of divisions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from c2t.kernels.native import native_status

PROGRAM = Path(__file__).parent / "quotients.cpp"
SOURCES = Path(__file__).parents[2] / "kernels" / "csrc"


@pytest.mark.slow
def test_products_round_as_divisions_do(tmp_path):
    if shutil.which("c++") is None or native_status().isa not in ("avx512", "amx"):
        pytest.skip("there is no C++ compiler, or no AVX-512")
    program = tmp_path / "quotients"
    flags = ("-std=c++17", "-O2", "-ffp-contract=off", "-mavx512f", "-mavx512bw", "-mavx512dq")
    more = ("-mavx512vl", "-mfma", f"-I{SOURCES}")
    subprocess.run(["c++", *flags, *more, PROGRAM, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    compared, close, reciprocals = map(int, done.stdout.split())
    assert compared > 600_000
    assert close > 1000  # a product alone would not do
    assert reciprocals > 33_000_000  # every mantissa, and with guesses that are as wrong as may be
