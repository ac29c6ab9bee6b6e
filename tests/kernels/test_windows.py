"""The kernels as a DLL, built by mingw-w64 and run by wine: the same bits as on this system."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import c2t
from c2t.kernels.native import native_status

COMPILER = "x86_64-w64-mingw32-g++-posix"
HERE = Path(__file__).parent
KERNELS = HERE.parent.parent / "kernels"


def run(*words: str | Path, **variables: str) -> str:
    done = subprocess.run(
        list(map(str, words)),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=300,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dll(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for program in (COMPILER, "cmake", "make", "wine", "wineserver", "cc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("windows")
    system = ["-DCMAKE_SYSTEM_NAME=Windows", "-DCMAKE_SYSTEM_PROCESSOR=AMD64"]
    make = ["-G", "Unix Makefiles", f"-DCMAKE_CXX_COMPILER={COMPILER}"]
    run("cmake", "-S", KERNELS, "-B", folder, *system, *make)
    run("cmake", "--build", folder)
    run("cmake", "--install", folder, "--prefix", folder / "installed")
    return folder / "installed" / "c2t" / "kernels" / "c2t_kernels.dll"


@pytest.mark.slow
def test_the_dll_needs_no_library_of_a_compiler(dll: Path) -> None:
    said = run("x86_64-w64-mingw32-objdump", "-p", dll)
    needed = {line.split()[-1].lower() for line in said.splitlines() if "DLL Name" in line}
    assert needed <= {"kernel32.dll", "msvcrt.dll"}
    table = said.partition("[Ordinal/Name Pointer] Table")[2].partition("\n\n")[0]
    exported = {line.split()[-1] for line in table.splitlines()[1:] if line.strip()}
    here = run("nm", "-D", "--defined-only", native_status().library).split()
    ours = {word for word in here if word.startswith(("c2t_", "RegisterCustomOps"))}
    assert ours
    assert exported == ours


@pytest.mark.slow
def test_the_same_bits_as_here(dll: Path, tmp_path: Path) -> None:
    """Under each instruction set, for all dtypes, in one thread and in four."""
    native = next(
        (f for f in map(Path, c2t.kernels.__path__) if (f / "libc2t_kernels.so").exists()), None
    )
    if native is None:
        pytest.skip("c2t was installed without a C++ compiler")
    source = ["-O1", f"-I{KERNELS / 'csrc'}", HERE / "kernel_bits.c"]
    windows = tmp_path / "bits.exe"
    run(COMPILER.replace("g++", "gcc"), *source, dll, "-o", windows)
    shutil.copy(dll, tmp_path)
    library = native / "libc2t_kernels.so"
    run("cc", *source, library, f"-Wl,-rpath,{native}", "-o", tmp_path / "bits")
    prefix = {"WINEPREFIX": str(tmp_path / "wine"), "WINEDEBUG": "-all"}
    try:
        found = run("wine", windows, **prefix).splitlines()
    finally:
        subprocess.run(["wineserver", "-k"], env={**os.environ, **prefix}, check=False)
    expected = run(tmp_path / "bits").splitlines()
    assert len(expected) > 48
    assert all(": 0 " in line for line in expected[1:])  # memory sufficed
    assert found == expected
