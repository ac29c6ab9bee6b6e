"""Trained tiny models of both families as downloaded folders, and their bundles."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_sentences import FAMILY_NAMES, sentence_bundle, write_sentence_model

from c2t.runtime.bundle.bundle import Bundle


@pytest.fixture(scope="session")
def sentence_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each family. Tests that change something copy it first."""
    place = tmp_path_factory.mktemp("sentences")
    return {name: write_sentence_model(place / name, name, trained=True) for name in FAMILY_NAMES}


@pytest.fixture(scope="session")
def sentence_bundles(
    sentence_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    """The bundle that the whole export makes of each."""
    place = tmp_path_factory.mktemp("sentence_bundles")
    return {name: sentence_bundle(place / name, model) for name, model in sentence_folders.items()}
