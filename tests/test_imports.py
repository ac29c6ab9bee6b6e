"""What loads, and what never does: in fresh interpreters, with the network denied."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_process import make_cells
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import c2t

ROOT = Path(c2t.__file__).parent
NEVER = ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "optimum", "peft", "scanpy")
# No command that describes loads them, whatever else is installed: c2t[cpu] does not bring them.
NOT_LEAN = (
    *("anndata", "huggingface_hub", "igraph", "matplotlib", "pandas", "scipy", "sklearn"),
    *("tokenizers", "zarr"),
)
# These take long to load, and only reading or writing cells needs them.
LATE = (
    "anndata",
    "cryptography",
    "h5py",
    "igraph",
    "matplotlib",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "tokenizers",
)

# The stage of `c2t build` makes graphs, as exporting does; nothing that describes cells loads it.
BUILDING = (
    "c2t.runtime.graphs",
    "c2t.runtime.build",
)

# Runs before any other code of the interpreter; it cannot be taken off again.
DENY_NETWORK = """
import os, sys

def deny(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        os.write(2, f"network: {event} {arguments}\\n".encode())
        os._exit(97)

sys.addaudithook(deny)
"""


def run_python(code: str, *arguments: object, folder: Path | None = None) -> list[str]:
    """Names of the modules that are loaded when the code is done."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    if folder is not None:
        (folder / "sitecustomize.py").write_text(DENY_NETWORK)
        environment["PYTHONPATH"] = str(folder)
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return modules


def loaded(modules: list[str], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in modules]


# Rooms that need an extra, and what it brings. They are left out where that is not installed.
OF_EXTRAS = {
    "c2t.runtime.serve.http": "starlette",
    "c2t.runtime.serve.options": "starlette",
    "c2t.runtime.serve.server": "starlette",
    "c2t.runtime.serve.sila": "sila.framework",
    "c2t.runtime.trust": "cryptography",
}


def is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a part of a package that is not there
        return False


def runtime_modules() -> list[str]:
    files = [*(ROOT / "runtime").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    modules = [f"c2t.{name.removesuffix('.__init__')}" for name in sorted(names)]
    left_out = (*BUILDING, *(room for room, name in OF_EXTRAS.items() if not is_installed(name)))
    return ["c2t", "c2t.cli", *(name for name in modules if not name.startswith(left_out))]


def test_import_of_the_package_is_nothing_but_the_package() -> None:
    modules = run_python("import c2t")
    ours = [name for name in modules if name.startswith("c2t")]
    assert ours == ["c2t"]
    assert not loaded(modules, (*NEVER, *LATE, "numpy", "typer", "msgspec"))


def test_command_line_loads_nothing_before_a_command_runs() -> None:
    modules = run_python("import c2t.cli")
    assert not loaded(modules, (*NEVER, *LATE, "numpy", "msgspec"))


def test_no_module_of_the_runtime_needs_the_export() -> None:
    names = runtime_modules()
    assert "c2t.runtime.describe.describer" in names
    modules = run_python("".join(f"import {name}\n" for name in names))
    assert set(names) <= set(modules)
    assert not loaded(modules, NEVER)
    assert not loaded(modules, (*NOT_LEAN, "onnxruntime", "pyarrow"))
    # The command line names the options of every stage; a stage itself loads when it runs.
    stages = [name for name in modules if name.startswith(("c2t.export.", "c2t.calibration."))]
    light = {"c2t.calibration.quantise", "c2t.calibration.quantise.estimator"}
    light |= {"c2t.calibration.results", "c2t.calibration.results.gate"}
    light |= {"c2t.export.checkpoint", "c2t.export.checkpoint.options"}
    commands = {"c2t.export.command", "c2t.calibration.commands"}
    assert {name for name in stages if not name.startswith(tuple(commands))} <= light
    assert not [name for name in modules if name.startswith(BUILDING)]
    runtime = run_python("".join(f"import {name}\n" for name in names if name != "c2t.cli"))
    assert not [name for name in runtime if name.startswith(("c2t.export", "c2t.calibration"))]


@pytest.mark.parametrize("stage", ["build_half_graphs", "build_plans"])
def test_building_needs_no_torch(stage: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: c2t[export], c2t[gpu]")
    modules = run_python(f"import c2t.runtime.build.{stage}")
    assert loaded(modules, NEVER) == ["onnx"]


DESCRIBE = """
import os, sys
import c2t
assert "onnxruntime" not in sys.modules
bundle = c2t.open(sys.argv[1])
texts = [cell.text for cell in bundle.describe(sys.argv[2])]
assert len(texts) == 4 and None not in texts, texts
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""

COMMAND = """
import os, sys
from c2t.cli import main

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"

sys.meta_path.insert(0, Watch())
sys.argv = ["c2t", "describe", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.fixture(scope="module")
def work(tiny_bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    (folder / "bundle").symlink_to(tiny_bundle_folder)
    make_cells(folder / "cells.h5ad", 4)
    return folder


def test_describing_loads_no_torch_and_opens_no_socket(work: Path, tmp_path: Path) -> None:
    modules = run_python(DESCRIBE, work / "bundle", work / "cells.h5ad", folder=tmp_path)
    assert "onnxruntime" in modules
    assert not loaded(modules, (*NEVER, *NOT_LEAN, "cryptography"))
    assert not [name for name in modules if name.startswith("c2t.export")]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "h5ad"])
def test_command_loads_no_torch_and_opens_no_socket(
    work: Path, tmp_path: Path, suffix: str
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: c2t[parquet]")
    out = tmp_path / f"out.{suffix}"
    modules = run_python(COMMAND, work / "bundle", work / "cells.h5ad", "-o", out, folder=tmp_path)
    assert out.is_file()
    # pyarrow itself loads pandas, where it is installed.
    lean = [name for name in NOT_LEAN if (name, suffix) != ("pandas", "parquet")]
    assert not loaded(modules, (*NEVER, *lean))
    assert ("pyarrow" in modules) <= (suffix == "parquet")


def test_reporting_needs_no_more_than_describing(work: Path, tmp_path: Path) -> None:
    lines, page = tmp_path / "lines.jsonl", tmp_path / "page.html"
    run_python(COMMAND, work / "bundle", work / "cells.h5ad", "-o", lines, folder=tmp_path)
    code = COMMAND.replace('"describe"', '"report"')
    modules = run_python(code, lines, "--cells", work / "cells.h5ad", "-o", page, folder=tmp_path)
    assert page.is_file()
    assert not loaded(modules, (*NEVER, *NOT_LEAN, "jinja2", "onnxruntime"))


def test_network_is_really_denied_here(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"network: socket\."):
        run_python("import socket; socket.create_connection(('192.0.2.1', 9), 1)", folder=tmp_path)


@pytest.mark.parametrize("command", ["doctor", "info", "verify"])
def test_other_commands_load_no_torch(work: Path, tmp_path: Path, command: str) -> None:
    code = COMMAND.replace('"describe"', f'"{command}"')
    arguments = [] if command == "doctor" else [work / "bundle"]
    assert not loaded(run_python(code, *arguments, folder=tmp_path), (*NEVER, *NOT_LEAN))


def installed_with(package: str) -> set[str]:
    """Names of all that pip installs with it, by what the installed ones say of themselves."""
    found: set[str] = set()
    waiting = {(package, extra) for extra in Requirement(package).extras or {""}}
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = pair = waiting.pop()
        seen.add(pair)
        found.add(name := canonicalize_name(Requirement(name).name))
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting |= {(needed.name, more) for more in ("", *needed.extras)} - seen
    return found


def test_a_lean_install_brings_none_of_them() -> None:
    lean = installed_with("c2t[cpu]")
    assert {"c2t", "h5py", "numpy", "onnxruntime", "typer"} <= lean
    unwanted = {canonicalize_name(name) for name in (*NEVER, *NOT_LEAN)}
    assert not lean & unwanted


def test_rooms_are_no_top_level_names() -> None:
    """Even in the checkout: other packages are called `kernels` and `runtime`, too."""
    code = """
from importlib.util import find_spec
for name in ("runtime", "kernels", "export", "calibration", "cli"):
    print(getattr(find_spec(name), "origin", None))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    origins = done.stdout.splitlines()
    assert len(origins) == 5
    assert not [origin for origin in origins if Path(origin).is_relative_to(ROOT)]


def test_one_file_imports_onnxruntime() -> None:
    """Its telemetry is switched off there, which is too late once it has loaded."""
    files = [ROOT / "__init__.py", ROOT / "cli.py"]
    for room in ("calibration", "export", "kernels", "runtime"):
        files += (ROOT / room).rglob("*.py")
    statement = re.compile(r"^\s*(import|from) onnxruntime\b", re.MULTILINE)
    found = [file.name for file in files if statement.search(file.read_text(encoding="utf-8"))]
    assert found == ["onnxruntime_library.py"]
