"""A tiny bundle with golden cells, and a file of cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import make_cells, set_golden
from tiny_bundle import make_bundle
from tiny_models import tiny_cell


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
