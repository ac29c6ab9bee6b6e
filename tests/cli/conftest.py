"""A tiny bundle with golden cells, and a file of cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Completed, make_cells, set_golden
from tiny_bundle import make_bundle
from tiny_models import tiny_cell

from c2t.cli import app
from c2t.runtime.command_line import run_arguments


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    folder.mkdir()
    tiny = make_bundle(folder)
    golden = []
    for length in (12, 30):
        tokens = tiny_cell(length, seed=length).tolist()
        ids = tiny.reference(tokens, tiny.bundle.manifest.generation)
        text = tiny.loaded.tokenizer.decode(ids, skip_special_tokens=True)
        golden.append({"gene_tokens": tokens, "token_ids": ids, "text": text})
    set_golden(folder, golden)
    return folder


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 20)


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
