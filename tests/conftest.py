"""Things that many tests share: a tiny checkpoint and its bundle, made once by the real export."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Completed

from c2t.cli import app
from c2t.runtime.command_line.run import run_arguments


@pytest.fixture
def driver(monkeypatch):
    """A fake of CUDA's driver on host memory."""
    from fakes.cuda_driver import FakeDriver

    driver = FakeDriver()
    driver.install(monkeypatch)
    return driver


@pytest.fixture(scope="session")
def tiny_checkpoint_folder(tmp_path_factory) -> Path:
    """A random checkpoint in the package's own layout."""
    from tiny_models import tiny_checkpoint

    from c2t.export.checkpoint.folder import save_checkpoint

    loaded = tiny_checkpoint()
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_checkpoint(
        folder,
        model=loaded.model,
        genes=loaded.genes,
        tokenizer=loaded.tokenizer,
        settings=loaded.settings,
    )
    return folder


@pytest.fixture(scope="session")
def tiny_bundle_folder(tiny_checkpoint_folder, tmp_path_factory) -> Path:
    """Its bundle. Tests that change something must copy it first."""
    from c2t.export.checkpoint.options import CheckpointOptions
    from c2t.export.pipeline import ExportOptions, export_bundle

    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder, max_new_tokens=12)
    export_bundle(ExportOptions(output=folder, checkpoint=checkpoint))
    return folder


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
