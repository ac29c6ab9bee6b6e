"""The whole export on a tiny checkpoint: what it writes, and that a failure writes nothing."""

import json

import pytest

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.system.errors import OutputError, ParityError


def test_the_same_checkpoint_gives_the_same_bytes(tiny_checkpoint_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    digests = set()
    for name in ("one", "two"):
        checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder, max_new_tokens=4)
        bundle = export_bundle(ExportOptions(output=tmp_path / name, checkpoint=checkpoint))
        digests.add(bundle.digest)
    assert len(digests) == 1


def test_the_manifest_tells_what_the_bundle_was_made_from(tiny_bundle_folder):
    manifest = open_bundle(tiny_bundle_folder).manifest
    assert manifest.generation.max_new_tokens == 12
    assert manifest.origin.layout
    assert "config.json" in " ".join(manifest.origin.files)
    assert not manifest.origin.random_weights
    assert manifest.encoder.layers_run == manifest.encoder.layers - 1
    parity = json.loads((tiny_bundle_folder / "parity.json").read_text())
    assert {r["graph"] for r in parity["results"]} >= {"encoder", "projector", "decoder"}
    assert all(r["max_difference"] <= r["tolerance"] for r in parity["results"])


def test_a_graph_that_differs_leaves_no_bundle(tiny_checkpoint_folder, tmp_path, monkeypatch):
    from c2t.export import pipeline

    write_graphs = pipeline.write_graphs

    def damage(loaded, folder, **options):
        written = write_graphs(loaded, folder, **options)
        path = folder / "decoder.onnx.data"
        data = bytearray(path.read_bytes())
        data[:512] = b"\x40" * 512  # the first weight; weights start on pages, gaps lie between
        path.write_bytes(data)
        return written

    monkeypatch.setattr(pipeline, "write_graphs", damage)
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder)
    with pytest.raises(ParityError, match="differ from PyTorch"):
        export_bundle(ExportOptions(output=tmp_path / "bundle", checkpoint=checkpoint))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_kept_unless_forced(tiny_bundle_folder, tiny_checkpoint_folder):
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder)
    with pytest.raises(OutputError, match="exists already"):
        export_bundle(ExportOptions(output=tiny_bundle_folder, checkpoint=checkpoint))
