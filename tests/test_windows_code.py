"""Code that runs on Windows, checked without it: names of its Python, encodings, line ends."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import c2t

ROOT = Path(c2t.__file__).parent
FOLDERS = ("runtime", "export", "calibration", "kernels", "examples")
TEXT_CALLS = ("open", "fdopen", "read_text", "write_text", "TextIOWrapper")


def files() -> list[Path]:
    found = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    return [*found, ROOT / "cli.py", ROOT / "__init__.py"]


def text_faults(source: str) -> Iterator[tuple[int, str]]:
    """Lines that read or write text in the system's encoding or with its line ends."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        given = {keyword.arg for keyword in node.keywords}
        if name == "run" and given & {"text", "universal_newlines"} and "encoding" not in given:
            yield node.lineno, "a process's text without an encoding"
        if name not in TEXT_CALLS or (name.endswith("_text") and isinstance(function, ast.Name)):
            continue  # `write_text` of ours is a function, that of paths is not
        if name == "read_text" and node.args:
            continue  # a file of an installed package, which is UTF-8
        mode = next((k.value for k in node.keywords if k.arg == "mode"), None)
        words = [a.value for a in (*node.args, mode) if isinstance(a, ast.Constant)]
        texts = [word for word in words if isinstance(word, str)]
        modes = [word for word in texts if word and len(word) < 4 and set(word) <= set("rwxabt+")]
        if name in ("open", "fdopen"):
            if not modes or any("b" in found for found in modes):
                continue  # bytes; or the open of something else, such as a store
            writes = any(set(found) & set("wxa+") for found in modes)
        else:
            writes = name != "read_text"
        if "encoding" not in given and name != "TextIOWrapper":
            yield node.lineno, "text without an encoding"
        if writes and "newline" not in given:
            yield node.lineno, "text whose line ends are the system's"


def test_text_has_the_same_bytes_on_every_system() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {fault}"
        for file in files()
        for line, fault in text_faults(file.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "open('a', 'w', encoding='utf-8')",
        "path.open('w', newline='')",
        "path.read_text()",
        "path.write_text('a', encoding='utf-8')",
        "os.fdopen(handle, 'w', encoding='ascii')",
        "subprocess.run(words, text=True)",
    ],
)
def test_such_faults_are_found(source: str) -> None:
    assert list(text_faults(source))


def check_types(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Type-check as for Windows, whose `os`, `signal`, `socket` and `fcntl` have fewer names."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "mypy", "--platform", "win32", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.mark.slow
def test_no_name_is_used_that_windows_lacks(tmp_path: Path) -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("this is no checkout")
    pytest.importorskip("mypy", reason="mypy is not installed: c2t[dev]")
    done = check_types("--cache-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.O_DIRECTORY",
        "import fcntl; fcntl.flock(0, 1)",
        "import resource; resource.getrusage(0)",
        "import signal; signal.SIGHUP",
        "import socket; socket.AF_UNIX",
    ],
)
@pytest.mark.slow
def test_such_names_are_found(tmp_path: Path, code: str) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: c2t[dev]")
    (tmp_path / "module.py").write_text(code, encoding="utf-8")
    done = check_types("--cache-dir", str(tmp_path / "cache"), "module.py", cwd=tmp_path)
    assert "[attr-defined]" in done.stdout
