"""The installed library: its symbols and number, pkg-config, examples in three languages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from capi_programs import CAPI, WARNINGS, need
from serve_cells import GENES, counts, described

import c2t

VALUES = counts(3)


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **variables},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The cells of `VALUES` as the examples read them."""
    path = tmp_path / "cells.tsv"
    lines = [
        f"cell{number}\t{gene}\t{count:g}\n"
        for number, row in enumerate(VALUES)
        for gene, count in zip(GENES, row, strict=True)
        if count
    ]
    path.write_text("".join(lines))
    return path


@pytest.fixture
def expected(model: c2t.Model) -> bytes:
    """What an example prints of them."""
    cells = described(model, VALUES)
    return "".join(f"{cell.cell}\t{cell.text}\n" for cell in cells).encode()


def listed() -> set[str]:
    return set((CAPI / "c2t.symbols").read_text().split())


def test_symbols_are_those_of_the_list(library: Path) -> None:
    need("nm")
    lines = run("nm", "-D", "--defined-only", library / "lib" / "libc2t.so.1").stdout.decode()
    found = {line.split()[-1].partition("@")[0] for line in lines.splitlines()}
    assert found - {"C2T_1", "C2T_1.1", "C2T_1.2"} == listed()


def test_header_and_map_have_the_same_symbols() -> None:
    header = (CAPI / "c2t.h").read_text()
    assert set(re.findall(r"^C2T_API .*?\b(c2t_\w+)\(", header, re.MULTILINE)) == listed()
    version_script = (CAPI / "c2t.map").read_text().partition("{")[2]
    assert set(re.findall(r"\bc2t_\w+", version_script)) == listed()


def test_name_has_the_number_of_the_abi(library: Path) -> None:
    need("readelf")
    number = re.search(r"#define C2T_ABI_VERSION (\d+)", (CAPI / "c2t.h").read_text())
    assert number is not None
    dynamic = run("readelf", "-d", library / "lib" / "libc2t.so").stdout.decode()
    assert f"[libc2t.so.{number[1]}]" in dynamic
    needed = set(re.findall(r"NEEDED.*\[(.+)\]", dynamic))
    assert all(re.match(r"(libc|libpthread|ld-linux.*)\.so", name) for name in needed), needed


def test_versions_agree() -> None:
    assert f"VERSION {c2t.__version__} " in (CAPI / "CMakeLists.txt").read_text()
    assert f'"{c2t.__version__}"' in (CAPI / "src" / "base" / "base.h").read_text()


def test_example_in_c(
    library: Path, command: Path, tiny_bundle_folder: Path, table: Path, expected: bytes
) -> None:
    variables = {"LD_LIBRARY_PATH": str(library / "lib"), "C2T_COMMAND": str(command)}
    done = run(library / "describe", "bundle", tiny_bundle_folder, table, **variables)
    assert done.stdout == expected
    assert b"2. " in done.stderr


def test_pkg_config_builds_the_example(
    library: Path, served: Path, table: Path, expected: bytes, tmp_path: Path
) -> None:
    need("pkg-config")
    where = {"PKG_CONFIG_PATH": str(library / "lib" / "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "c2t", **where).stdout.decode().split()
    source = CAPI / "examples" / "describe.c"
    run("cc", *WARNINGS, source, *flags, "-o", tmp_path / "describe")
    there = {"LD_LIBRARY_PATH": str(library / "lib")}
    assert run(tmp_path / "describe", "socket", served, table, **there).stdout == expected


def test_plain_line_of_the_readme_builds_it(tmp_path: Path) -> None:
    line = re.search(r"^ {4}(cc .+)$", (CAPI / "README.md").read_text(), re.MULTILINE)
    assert line is not None
    words = line[1].replace("libc2t.so.1 ", f"{tmp_path / 'libc2t.so.1'} ")
    done = subprocess.run(
        ["sh", "-c", words], cwd=CAPI, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "libc2t.so.1").exists()


def test_header_is_cpp_too(tmp_path: Path) -> None:
    need("c++")
    source = tmp_path / "host.cpp"
    source.write_text("#include <c2t.h>\nint main() { return c2t_abi_version() == 1 ? 0 : 1; }\n")
    run("c++", "-std=c++11", *WARNINGS[1:], f"-I{CAPI}", "-fsyntax-only", source)


def test_example_in_python(
    library: Path, served: Path, table: Path, expected: bytes, command: Path, tiny_bundle_folder
) -> None:
    example = CAPI / "examples" / "describe.py"
    variables = {"LIBC2T": str(library / "lib" / "libc2t.so.1"), "C2T_COMMAND": str(command)}
    assert run(sys.executable, example, "socket", served, table, **variables).stdout == expected
    over_child = run(sys.executable, example, "bundle", tiny_bundle_folder, table, **variables)
    assert over_child.stdout == expected


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ((), 2, "wrong arguments"),
        (("bundle", "b"), 2, "wrong arguments"),
        (("folder", "b", "t"), 2, "wrong arguments"),
        (("bundle", "b", "none.tsv"), 1, "cannot read none.tsv"),
        (("bundle", "b", "bad.tsv"), 1, "line 1 of bad.tsv is 'a b c'"),
    ],
)
def test_example_in_python_says_what_is_wrong(
    library: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    (tmp_path / "bad.tsv").write_text("a b c\n")
    done = subprocess.run(
        [sys.executable, CAPI / "examples" / "describe.py", *arguments],
        cwd=tmp_path,
        env={**os.environ, "LIBC2T": str(library / "lib" / "libc2t.so.1")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    error, hint = done.stderr.splitlines()
    assert problem in error
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")


def test_example_in_c_sharp(
    library: Path,
    served: Path,
    table: Path,
    expected: bytes,
    command: Path,
    tiny_bundle_folder: Path,
    tmp_path: Path,
) -> None:
    need("mcs", "mono")
    program = tmp_path / "Describe.exe"
    run("mcs", "-warnaserror", f"-out:{program}", CAPI / "examples" / "Describe.cs")
    variables = {"LD_LIBRARY_PATH": str(library / "lib"), "C2T_COMMAND": str(command)}
    assert run("mono", program, "socket", served, table, **variables).stdout == expected
    over_child = run("mono", program, "bundle", tiny_bundle_folder, table, **variables)
    assert over_child.stdout == expected
