"""The GPU and the models that the tests of this folder share.

    pytest -m gpu                           # all of them; skipped by name without a GPU
    C2T_GPU_BUNDLES=BUNDLE pytest -m gpu    # and on bundles of yours, separated as in PATH

They need `c2t[gpu]` and pytest, no torch.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.engines.check import gpu_reasons
from c2t.runtime.generation.phrase_table import PHRASES_NAME, build_phrase_table
from c2t.runtime.system.machine import look_at_machine

pytest.register_assert_rewrite("gpu_checks")  # its failures say their values
OWN_BUNDLES = [Path(p) for p in os.environ.get("C2T_GPU_BUNDLES", "").split(os.pathsep) if p]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where none can be used, and say why."""
    if reasons := gpu_reasons(look_at_machine()):
        skip = pytest.mark.skip(reason=f"no NVIDIA GPU: {'; '.join(reasons)}")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skip)


@pytest.fixture
def device() -> Any:
    """The first GPU."""
    pytest.importorskip("cuda.core", reason="cuda-core is not installed: c2t[gpu]")
    from c2t.kernels.cuda.device import CudaDevice

    return CudaDevice()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed tiny bundle, with a phrase table of its golden texts."""
    folder = shutil.copytree(BUNDLES["mlp"], tmp_path_factory.mktemp("tiny") / "bundle")
    bundle = open_bundle(folder)
    texts = [cell.token_ids for cell in bundle.golden.cells]
    build_phrase_table(texts).save(folder / PHRASES_NAME)
    files = file_entries(folder, [*bundle.manifest.files, PHRASES_NAME])
    write_manifest(folder, bundle.manifest.replace(files=files))
    return folder


@pytest.fixture(params=["tiny", *OWN_BUNDLES], ids=str)
def bundle(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bundle:
    """The tiny bundle, and each of `C2T_GPU_BUNDLES`. What is built for them is the test's own."""
    monkeypatch.setenv("C2T_ENGINES", str(tmp_path / "engines"))
    if request.param != "tiny":
        return open_bundle(request.param, verify=False)
    source = request.getfixturevalue("tiny_folder")
    return open_bundle(shutil.copytree(source, tmp_path / "bundle"))


@pytest.fixture
def cells(bundle: Bundle) -> list[list[int]]:
    """Gene tokens of the golden cells, and the first half of each."""
    golden = [list(cell.gene_tokens) for cell in bundle.golden.cells]
    return golden + [cell[: 1 + len(cell) // 2] for cell in golden]
