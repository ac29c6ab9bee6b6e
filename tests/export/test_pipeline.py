"""The whole export on a tiny checkpoint: what it writes, and that a failure writes nothing."""

import json
import shutil
from dataclasses import replace

import pytest

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.system.errors import BundleError, OutputError, ParityError


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


def test_a_bundle_that_cannot_be_opened_does_not_get_its_name(
    tiny_bundle_folder, tiny_checkpoint_folder, tmp_path, monkeypatch
):
    """Nor does it replace a good one."""
    from c2t.export import pipeline

    place = tmp_path / "bundle"
    shutil.copytree(tiny_bundle_folder, place)
    good = open_bundle(place).digest
    make_manifest = pipeline.make_manifest

    def with_an_end_that_is_no_token(*arguments):
        manifest = make_manifest(*arguments)
        generation = replace(manifest.generation, eos_token_ids=(100_000,))
        return manifest.replace(generation=generation)

    monkeypatch.setattr(pipeline, "make_manifest", with_an_end_that_is_no_token)
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder)
    for output, force in ((tmp_path / "new", False), (place, True)):
        with pytest.raises(BundleError, match="100000 is not in the vocabulary"):
            export_bundle(ExportOptions(output=output, checkpoint=checkpoint, force=force))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert open_bundle(place).digest == good


def test_a_tokenizer_that_writes_other_texts_leaves_no_bundle(
    tiny_checkpoint_folder, tmp_path, monkeypatch
):
    from c2t.export import pipeline

    write_tables = pipeline.write_tables

    def with_other_words(loaded, folder):
        write_tables(loaded, folder)
        path = folder / "tokenizer.json"
        stored = json.loads(path.read_text())
        words = stored["model"]["vocab"]
        stored["model"]["vocab"] = dict(zip(words, reversed(words.values()), strict=True))
        path.write_text(json.dumps(stored))

    monkeypatch.setattr(pipeline, "write_tables", with_other_words)
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder)
    with pytest.raises(ParityError, match="by the bundle's tokenizer"):
        export_bundle(ExportOptions(output=tmp_path / "bundle", checkpoint=checkpoint))
    assert list(tmp_path.iterdir()) == []


def test_what_parity_is_against_is_said(tiny_checkpoint_folder, tmp_path):
    said = []
    checkpoint = CheckpointOptions(folder=tiny_checkpoint_folder, max_new_tokens=4)
    options = ExportOptions(output=tmp_path / "bundle", checkpoint=checkpoint)
    export_bundle(options, report=said.append)
    assert any("own reading of the checkpoint: no --reference" in words for words in said)
