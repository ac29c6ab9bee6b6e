"""The command line in a process of its own, and small files for it to work on."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cell_libraries import anndata, pd, sp

from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import GOLDEN_NAME, MANIFEST_NAME
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest

C2T = Path(sysconfig.get_path("scripts")) / "c2t"
ENVIRONMENT = {**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}

Completed = subprocess.CompletedProcess[str]
Command = Callable[..., Completed]


def run_c2t(
    *arguments: object,
    cwd: Path | None = None,
    stdout: int | None = None,
    env: dict[str, str] | None = None,
) -> Completed:
    """Run the command; standard output is kept unless a file descriptor takes it.

    `env` holds variables besides those that every test has.
    """
    return subprocess.run(
        [str(C2T), *map(str, arguments)],
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        env={**ENVIRONMENT, **(env or {})},
        cwd=cwd,
    )


def set_golden(folder: Path, golden: list[dict[str, Any]]) -> None:
    """Give a bundle these golden cells, and a manifest that says so."""
    (folder / GOLDEN_NAME).write_text(json.dumps({"cells": golden}))
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    write_manifest(folder, manifest.replace(files=file_entries(folder, manifest.files)))


def random_cells(count: int, *, seed: int = 0) -> Any:
    """Random counts of the tiny vocabulary's genes; cell 3 is empty, cell 5 has a NaN."""
    generator = np.random.default_rng(seed)
    counts = generator.poisson(0.7, size=(count, 60)).astype(np.float32)
    if count > 5:
        counts[3] = 0
        counts[5, 7] = np.nan
    return anndata.AnnData(
        sp.csr_matrix(counts),
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(count)]),
        var=pd.DataFrame(index=[f"ENSG{n:011d}" for n in range(1, 61)]),
    )


def make_cells(path: Path, count: int, *, seed: int = 0) -> Path:
    """The same in a file."""
    random_cells(count, seed=seed).write_h5ad(path)
    return path
