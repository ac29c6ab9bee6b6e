"""A few broken files of each kind: none may do anything but be read or be refused with a hint.

`python tests/fuzz/run.py` tries thousands. It runs in a process of its own: that of the tests has
threads, which do not survive a fork.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
CASES = {
    "manifest": 20,
    "manifest-used": 20,
    "sentences": 30,
    "bundle-files": 30,
    "graphs": 20,
    "built": 20,
    "h5ad-structure": 20,
    "h5ad-bytes": 20,
    "hdf5-formats": 20,
    "hdf5-formats-bytes": 20,
    "mex": 20,
    "tables": 20,
    "zarr": 20,
    "orthologues": 40,
    "pickles": 60,
    "ontologies": 40,
    "labels": 40,
    "journal": 20,
    "checkpoints": 8,
    "joint-checkpoints": 15,
    "joint-bundles": 20,
}
SLOW = dict.fromkeys(("checkpoints", "joint-checkpoints", "joint-bundles"), pytest.mark.slow)
NEEDS = {"graphs": "onnx", "built": "onnx", "checkpoints": "torch", "ontologies": "obonet"}
NEEDS |= dict.fromkeys(("joint-checkpoints", "joint-bundles"), "torch")
NEEDS |= {
    name: "anndata"
    for name in ("hdf5-formats", "hdf5-formats-bytes", "mex", "tables", "orthologues")
}
NEEDS |= {"zarr": "zarr"}
NEEDS |= {name: "onnx" for name in ("manifest", "manifest-used", "sentences", "bundle-files")}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in CASES])
def test_broken_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    if find_spec(NEEDS.get(name, "c2t")) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    words = [sys.executable, str(RUN), name, "--cases", str(CASES[name]), "--kept", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
