"""Key pairs, and a bundle that is signed."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from tiny_data import BUNDLES

from c2t.runtime.commands.sign import sign


def import_key_pairs() -> ModuleType:
    """Late: it needs c2t[trust]."""
    return importlib.import_module("key_pairs")


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    return import_key_pairs().new_keys(tmp_path_factory.mktemp("keys"), "ours")


@pytest.fixture(scope="session")
def other_keys(tmp_path_factory):
    return import_key_pairs().new_keys(tmp_path_factory.mktemp("keys"), "other")


@pytest.fixture(scope="session")
def signed_once(tmp_path_factory, keys) -> Path:
    folder = shutil.copytree(BUNDLES["mlp"], tmp_path_factory.mktemp("signed") / "tiny")
    sign(folder, keys.private)
    return folder


@pytest.fixture
def signed(signed_once, tmp_path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(signed_once, tmp_path / "tiny")
