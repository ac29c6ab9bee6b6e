"""Vector kernels have the bits of the scalar ones, without Python: here, and on an emulated Arm."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from c2t.kernels.native import native_status

PROGRAM = Path(__file__).parent / "same_bits.cpp"
KERNELS = Path(__file__).parents[2] / "kernels"
ARM = "aarch64-linux-gnu"
ARM_LIBRARIES = Path("/usr") / ARM  # of Debian's g++-aarch64-linux-gnu


def run(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def build_program(compiler: str, library: Path, folder: Path) -> Path:
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{KERNELS / 'csrc'}")
    program = folder / "same_bits"
    run(compiler, *flags, PROGRAM, "-o", program, library, f"-Wl,-rpath,{library.parent}")
    return program


@pytest.mark.slow
def test_here(tmp_path):
    library = native_status().library
    if shutil.which("c++") is None or library is None:
        pytest.skip("there is no C++ compiler, or no compiled library")
    counts = json.loads(run(build_program("c++", library, tmp_path)))
    assert all(count["rankings"] == 288 for count in counts.values())


@pytest.mark.slow
def test_neon_on_an_emulated_processor(tmp_path):
    emulators = [name for name in ("qemu-aarch64", "qemu-aarch64-static") if shutil.which(name)]
    for program in ("cmake", f"{ARM}-g++"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not emulators:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user or qemu-user-static)")
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={KERNELS / ARM}.cmake"
    run("cmake", "-S", KERNELS, "-B", tmp_path / "build", toolchain, "-DCMAKE_CXX_FLAGS=-Werror")
    run("cmake", "--build", tmp_path / "build")
    program = build_program(f"{ARM}-g++", tmp_path / "build/libc2t_kernels.so", tmp_path)
    counts = json.loads(run(emulators[0], "-L", ARM_LIBRARIES, program))
    assert list(counts) == ["neon"]
    assert counts["neon"]["embeddings"] == 1134
    assert counts["neon"]["rankings"] == 288
