"""The choice of an implementation, and the tests of the kernels under each of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from c2t.kernels.native import ISA_NUMBER, native_kernels, native_status

HERE = Path(__file__).parent
TESTS = (
    "test_attention.py",
    "test_gene_embedding.py",
    "test_rank_value.py",
    "test_cpu_encoder.py",
    "test_cpu_projector.py",
    "test_cpu_step.py",
    "test_cpu_step_pack.py",
)


def supported():
    kernels = native_kernels()
    if kernels is None:
        return []
    mask = kernels.library.c2t_isa_mask()
    return [name for name, number in ISA_NUMBER.items() if mask >> number & 1]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="this system has no /proc/cpuinfo")
def test_what_the_system_says_of_the_processor_is_found():
    if native_kernels() is None:
        pytest.skip("there is no compiled library")
    flags = set(Path("/proc/cpuinfo").read_text().split())
    needed = {
        "avx2": {"avx2", "fma", "f16c"},
        "avx512": {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"},
        "neon": {"asimd"},
    }
    found = supported()
    if "amx" in found:  # compilers and systems may lack what the processor has
        assert found.pop() == "amx"
        assert {"avx512_vnni", "amx_tile", "amx_int8"} <= flags
    assert found == ["scalar", *(isa for isa, names in needed.items() if names <= flags)]


def run(code_or_tests, isa):
    environment = os.environ | {"C2T_FORCE_ISA": isa, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, *code_or_tests]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["numpy", *ISA_NUMBER])
def test_every_implementation_passes_the_tests_of_the_kernels(isa):
    if "C2T_FORCE_ISA" in os.environ:
        pytest.skip("an implementation is forced already")
    if isa != "numpy" and isa not in supported():
        pytest.skip(f"{isa} does not run here: {native_status().reason}")
    result = run(["-m", "pytest", "-q", "-x", *(str(HERE / test) for test in TESTS)], isa)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.mark.parametrize("isa", ["numpy", *ISA_NUMBER])
def test_the_forced_implementation_is_the_one_reported(isa):
    if isa != "numpy" and isa not in supported():
        pytest.skip(f"{isa} does not run here: {native_status().reason}")
    code = "from c2t.kernels.native import native_status as s; print(s().isa, '|', s().reason)"
    result = run(["-c", code], isa)
    assert result.stdout.strip() == f"{isa} | C2T_FORCE_ISA is set", result.stderr


def test_an_unknown_implementation_is_an_error():
    result = run(["-c", "from c2t.kernels.native import native_status as s; s()"], "sse9")
    assert "KernelError: C2T_FORCE_ISA=sse9 is no implementation" in result.stderr
    assert "hint: choose one of numpy, scalar, avx2, avx512, neon" in result.stderr


def test_a_missing_library_is_stated_and_numpy_serves(tmp_path):
    """As after an installation without a compiler."""
    code = (
        "import c2t.kernels as k\n"
        "from c2t.kernels.native import native_status as s\n"
        f"k.__path__ = [{str(tmp_path)!r}]\n"  # the library is looked for here
        "print(s())"
    )
    result = run(["-c", code], "")
    assert "isa='numpy', library=None" in result.stdout, result.stderr
    assert "without a C++ compiler" in result.stdout
    forced = run(["-c", code], "avx2")
    assert "there is no compiled library" in forced.stderr
