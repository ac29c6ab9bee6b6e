"""What tests of many rooms share. Nothing here needs torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_process import Completed
from tiny_data import BUNDLES

from c2t.cli import app
from c2t.runtime.command_line.run import run_arguments

# What needs more than c2t[cpu] and pytest. It is left out, and named, where that is not installed.
NEEDS = {
    "torch": (
        *("calibration", "examples", "export", "cli/test_export.py"),
        *("kernels/test_decoder_step.py", "runtime/build"),
        *("runtime/engines/test_gpu_engine.py", "runtime/graphs"),
    ),
    "anndata": (
        *("runtime/cells/formats/test_field_files.py", "runtime/cells/genes/test_field_genes.py"),
        *("runtime/cells/values/test_field_values.py", "runtime/scverse"),
    ),
    "matplotlib": ("runtime/scverse/test_plots.py", "runtime/scverse/test_python_page.py"),
    "scanpy": ("runtime/scverse/test_plots.py",),
    "scipy": ("runtime/bench/test_kernels.py",),
    "onnx": (
        *("gpu/test_checks.py", "gpu/test_measuring.py"),
        *("runtime/engines/test_step_kernel.py", "runtime/engines/test_int8_step_kernel.py"),
        "runtime/engines/test_int8_step_groups.py",
    ),
    "uvicorn": ("runtime/serve/http", "runtime/serve/test_audit.py"),
    "httpx": ("runtime/serve/http", "runtime/serve/test_audit.py", "runtime/serve/test_serve.py"),
    "sila": ("runtime/serve/sila", "runtime/serve/test_serve.py"),
    "cryptography": ("runtime/serve/sila",),
}
HERE = Path(__file__).parent
assert all((HERE / path).exists() for paths in NEEDS.values() for path in paths), "a path moved"
LEFT_OUT = {name: paths for name, paths in NEEDS.items() if find_spec(name) is None}
collect_ignore = [path for paths in LEFT_OUT.values() for path in paths]


def pytest_report_header() -> list[str]:
    return [f"without {name}, left out: {', '.join(paths)}" for name, paths in LEFT_OUT.items()]


@pytest.fixture
def driver(monkeypatch):
    """A fake of CUDA's driver on host memory."""
    from fakes.cuda_driver import FakeDriver

    driver = FakeDriver()
    driver.install(monkeypatch)
    return driver


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the committed bundle. Tests that change something copy it again."""
    return shutil.copytree(BUNDLES["mlp"], tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def call_c2t(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Completed]:
    """The command line in this process: quicker, and warnings are errors here."""

    def call(*arguments: object, cwd: Path | None = None) -> Completed:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        words = list(map(str, arguments))
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            run_arguments(app, words)
        output, errors = capfd.readouterr()
        return Completed(words, int(caught.value.code or 0), output, errors)

    return call
