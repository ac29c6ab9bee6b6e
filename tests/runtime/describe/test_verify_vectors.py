"""Golden vectors: right ones pass, another model's are named, damaged ones are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_process import run_c2t
from tiny_data import JOINT

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.describe.verify_vectors import verify_golden_vectors
from c2t.runtime.joint.golden import GOLDEN_VECTORS
from c2t.runtime.system.errors import BundleError


def changed(folder: Path, change: Any) -> Bundle:
    """A copy of the bundle with other golden vectors, whose manifest says so."""
    shutil.copytree(JOINT, folder)
    golden = json.loads((folder / GOLDEN_VECTORS).read_text())
    change(golden)
    (folder / GOLDEN_VECTORS).write_text(json.dumps(golden))
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    write_manifest(folder, manifest.replace(files=file_entries(folder, manifest.files)))
    return open_bundle(folder)


def turn(golden: dict[str, Any]) -> None:
    """Make a cell's vector another one of length 1."""
    golden["cells"][0]["vector"] = golden["texts"][0]["vector"]


def test_a_bundle_gives_its_own_vectors() -> None:
    result = verify_golden_vectors(open_bundle(JOINT))
    assert (result.cells, result.texts, result.differences) == (2, 4, ())


def test_a_vector_that_points_elsewhere_is_named(tmp_path: Path) -> None:
    bundle = changed(tmp_path / "bundle", turn)
    result = verify_golden_vectors(bundle)
    assert len(result.differences) == 1
    assert result.differences[0].startswith("golden cell 0 has a cosine of")
    done = run_c2t("verify", bundle.path)
    assert done.returncode == 1
    assert "1 golden vectors point elsewhere" in done.stderr
    good = run_c2t("verify", JOINT)
    assert good.returncode == 0, good.stderr
    assert "6 of 6 golden vectors are as expected" in good.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g["cells"].clear(), "has 0 cells"),
        (lambda g: g["texts"][0]["vector"].pop(), "not 20 numbers of length 1"),
        (lambda g: g["cells"][0].update(vector=[1.0] * 20), "not 20 numbers of length 1"),
        (lambda g: g["cells"][0].update(gene_tokens=[64]), "that the encoder does not take"),
    ],
)
def test_refuses_golden_vectors_that_show_nothing(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        verify_golden_vectors(changed(tmp_path / "bundle", change))
