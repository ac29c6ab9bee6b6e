"""A list of genes: what is read of one, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ask_bundles import sentence_bundle

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.gene_order import GENE_ORDER_NAME, gene_order_bytes, read_gene_order
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.system.errors import BundleError, CheckpointError


def listed(folder: Path, content: bytes) -> tuple[str, ...]:
    path = folder / "genes.list"
    path.write_bytes(content)
    return read_gene_order(path, error=CheckpointError)


def test_the_first_place_of_a_gene_counts(tmp_path: Path) -> None:
    genes = listed(tmp_path, b"GNLY\r\nC15orf48\n\n CD14\nGNLY\nC15ORF48\nRP1-167O22.1")
    assert genes == ("GNLY", "C15orf48", "CD14", "RP1-167O22.1")
    assert listed(tmp_path, gene_order_bytes(genes)) == genes


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has 0 genes"),
        (b"GNLY\nCD14, LYZ\n", "line 2 of .* is 'CD14, LYZ', which is no gene symbol"),
        (b"GNLY\tLYZ\n", "no gene symbol"),
        (b"G" * 101, "no gene symbol"),
        (b"\xff\xfe", "cannot read"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem) as caught:
        listed(tmp_path, content)
    assert "a gene symbol in each line" in str(caught.value.hint)


def test_a_bundle_has_the_list_that_its_manifest_says(tmp_path: Path) -> None:
    path = sentence_bundle(tmp_path / "b", "{genes}:", tasks=["describe"])
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / GENE_ORDER_NAME).write_text("CD3E\nACTB\n")
    manifest["files"] |= {
        name: {"bytes": entry.bytes, "sha256": entry.sha256}
        for name, entry in file_entries(path, [GENE_ORDER_NAME]).items()
    }

    def write(number: int) -> None:
        manifest["gene_sentence"]["listed"] = number
        (path / "manifest.json").write_text(json.dumps(manifest))

    write(2)
    assert open_bundle(path).gene_order == ("CD3E", "ACTB")
    write(3)
    with pytest.raises(BundleError, match="has 2 genes, the manifest says 3"):
        _ = open_bundle(path).gene_order
    write(0)
    with pytest.raises(BundleError, match="a list do not come together"):
        open_bundle(path)
