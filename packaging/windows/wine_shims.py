"""Give wine 8 what NumPy, HDF5 and Rust ask of Windows' C library and wine lacks.

Three small DLLs beside python.exe: complex arithmetic, which NumPy imports and c2t never calls;
flags of floating-point exceptions, which HDF5 clears; random bytes. The first two get names of
their own, and the wheels' files are changed to ask for these.

    python wine_shims.py SITE_PACKAGES FOLDER_OF_PYTHON_EXE
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = "x86_64-w64-mingw32-"
MATH, RUNTIME = "api-ms-win-crt-math-l1-1-0.dll", "api-ms-win-crt-runtime-l1-1-0.dll"
ONE = {"acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh"}
ONE |= {"exp", "log", "sin", "sinh", "sqrt", "tan", "tanh"}
PLAIN = ("abs", "arg", "imag", "real")
COMPLEX_HEAD = """
#include <complex.h>
typedef struct { float v[2]; } F;
typedef struct { double v[2]; } D;
static float _Complex f(F a) { return a.v[0] + a.v[1] * I; }
static double _Complex d(D a) { return a.v[0] + a.v[1] * I; }
static F g(float _Complex z) { F r = {{crealf(z), cimagf(z)}}; return r; }
static D e(double _Complex z) { D r = {{creal(z), cimag(z)}}; return r; }
"""
FLAGS = {
    "fetestexcept": "int x_fetestexcept(int a) { return 0 & a; }",
    "feclearexcept": "int x_feclearexcept(int a) { return 0 & a; }",
    "feholdexcept": "int x_feholdexcept(long* e) { return e[0] = e[1] = 0; }",
    "fesetenv": "int x_fesetenv(const long* e) { return 0 & e[0]; }",
}
RANDOM = """
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL ProcessPrng(PBYTE p, SIZE_T n) { return SystemFunction036(p, (ULONG)n); }
"""


def imported(file: Path, library: str) -> set[str]:
    """The functions that a DLL imports from a library."""
    words = [f"{TARGET}objdump", "-p", str(file)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    table = said.partition(f"DLL Name: {library}\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^\t[0-9a-f]+\t\s*\d+\s+(\w+)$", table, re.MULTILINE))


def complex_function(name: str) -> str | None:
    """A function of complex.h with the calling convention of Microsoft's."""
    for suffix, kind, into, back in (
        ("f", "F", "f", "g"),
        ("l", "D", "d", "e"),
        ("", "D", "d", "e"),
    ):
        base = name.removeprefix("c").removesuffix(suffix)
        own = f"c{base}{'f' if suffix == 'f' else ''}"
        if name != f"c{base}{suffix}":
            continue
        if base in ONE:
            return f"{kind} x_{name}({kind} a) {{ return {back}({own}({into}(a))); }}"
        if base in PLAIN:
            number = "float" if kind == "F" else "double"
            return f"{number} x_{name}({kind} a) {{ return {own}({into}(a)); }}"
        if base == "pow":
            value = f"{back}({own}({into}(a), {into}(b)))"
            return f"{kind} x_{name}({kind} a, {kind} b) {{ return {value}; }}"
    return None


def build(target: Path, source: str, exports: list[str]) -> None:
    """Compile a DLL."""
    with tempfile.TemporaryDirectory() as folder:
        code, table = Path(folder) / "a.c", Path(folder) / "a.def"
        code.write_text(source, encoding="ascii")
        table.write_text(
            "\n".join([f'LIBRARY "{target.name}"', "EXPORTS", *exports]), encoding="ascii"
        )
        words = [f"{TARGET}gcc", "-O1", "-w", "-shared", "-static", "-o", target, code]
        words += [table] if exports else []
        subprocess.run([*map(str, words), "-lm", "-ladvapi32"], check=True)


def redirect(
    files: list[Path], library: str, place: Path, functions: dict[str, str], head: str
) -> None:
    """Let files ask for another library, which has these functions and hands on the others."""
    own = library.replace("api-", "c2t-", 1)
    names = sorted(set().union(*(imported(file, library) for file in files)))
    exports = [f"  {n} = x_{n}" if n in functions else f"  {n} = ucrtbase.{n}" for n in names]
    source = head + "\n".join(functions[n] for n in names if n in functions)
    build(place / own, source, exports)
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content.replace(library.encode(), own.encode()))


def main(site: Path, place: Path) -> None:
    """Change the wheels' files, and write the DLLs."""
    numpy = [f for f in sorted((site / "numpy").rglob("*.pyd")) if MATH.encode() in f.read_bytes()]
    names = set().union(*(imported(file, MATH) for file in numpy))
    made = {name: code for name in names if (code := complex_function(name))}
    redirect(numpy, MATH, place, functions=made, head=COMPLEX_HEAD)
    redirect([site / "h5py/hdf5.dll"], RUNTIME, place, functions=FLAGS, head="")
    build(place / "bcryptprimitives.dll", RANDOM, [])
    # Wine 8 has neither: shutil then copies by itself, and platform asks elsewhere.
    lines = "import _winapi\n_winapi.__dict__.pop('CopyFile2', None)\n"
    (site / "sitecustomize.py").write_text(lines, encoding="ascii")
    (place / "_wmi.pyd").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
