import json
import os
import stat
from dataclasses import replace

import pytest
import torch
from tiny_models import TinySizes, tiny_cell, tiny_checkpoint
from unsure_rules import make_rule

from c2t.export.checkpoint import folder as folder_module
from c2t.export.checkpoint.folder import load_checkpoint_folder, save_checkpoint
from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import BundleError, CheckpointError, OutputError

SIZES = {
    "mlp": TinySizes(),
    "mlp with dropout, V1, untied": TinySizes(projector_dropout=0.1, version=1, tied=False),
    "perceiver": TinySizes(projector="perceiver"),
}


def save(loaded, folder, **options):
    save_checkpoint(
        folder,
        model=loaded.model,
        genes=loaded.genes,
        tokenizer=loaded.tokenizer,
        settings=loaded.settings,
        **options,
    )


def logits(loaded, cell):
    caption = torch.arange(20, 32)[None]
    return loaded.model(cell[None], caption, loaded.prompt)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_saved_and_loaded_checkpoint_gives_identical_output(tmp_path, sizes):
    loaded = tiny_checkpoint(sizes)
    save(loaded, tmp_path / "saved")
    again = load_checkpoint_folder(tmp_path / "saved")

    cell = tiny_cell(24, sizes)
    assert torch.equal(logits(again, cell), logits(loaded, cell))
    assert again.model.generate(cell, again.prompt, again.generation) == loaded.model.generate(
        cell, loaded.prompt, loaded.generation
    )
    assert again.prompt == loaded.prompt
    assert again.settings == loaded.settings
    assert again.model.projector.config == loaded.model.projector.config
    for name in ("ensembl_id", "token", "median", "alias", "alias_gene"):
        assert (getattr(again.genes, name) == getattr(loaded.genes, name)).all()
    assert again.genes.cls_token == loaded.genes.cls_token
    assert "genes.npz" in again.source_files
    encoded = again.tokenizer.encode("This sample consists of a B cell")
    assert encoded == loaded.tokenizer.encode("This sample consists of a B cell")


@pytest.mark.skipif(os.name != "posix", reason="rights of files as POSIX has them")
@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o027, 0o640)])
def test_all_files_have_the_rights_that_the_umask_leaves(tmp_path, mask, rights):
    before = os.umask(mask)
    try:
        save(tiny_checkpoint(), tmp_path / "saved")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files} == {
        path.name: rights for path in files
    }


def test_tokenizer_that_brings_code_is_refused(tmp_path):
    save(tiny_checkpoint(), tmp_path / "saved")
    folder = tmp_path / "saved" / "llama"
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="no usable tokenizer"):
        load_checkpoint_folder(tmp_path / "saved")
    assert not (tmp_path / "ran").exists()


def test_half_precision_folder_is_small_and_read_as_float32(tmp_path):
    loaded = tiny_checkpoint()
    save(loaded, tmp_path / "full")
    save(loaded, tmp_path / "half", half=True)
    size = [
        (tmp_path / name / "llama/model.safetensors").stat().st_size for name in ("full", "half")
    ]
    assert size[1] < 0.7 * size[0]
    again = load_checkpoint(CheckpointOptions(folder=tmp_path / "half"))
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.float32}
    for one, two in zip(again.model.parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(one, two.half().float())


def test_settings_can_be_replaced(tmp_path):
    save(tiny_checkpoint(), tmp_path / "saved")
    options = CheckpointOptions(
        folder=tmp_path / "saved", date="01 Feb 2025", num_beams=4, system_message="Say it."
    )
    loaded = load_checkpoint(options)
    assert loaded.prompt.date == "01 Feb 2025"
    assert loaded.prompt.system_message == "Say it."
    assert loaded.generation.num_beams == 4
    assert loaded.generation.no_repeat_ngram_size == 3
    with pytest.raises(CheckpointError, match="also given: --llama, --top-k"):
        load_checkpoint(replace(options, llama=tmp_path, top_k=3))


def test_existing_folder_is_replaced_only_by_force(tmp_path):
    save(tiny_checkpoint(), tmp_path / "saved")
    with pytest.raises(OutputError):
        save(tiny_checkpoint(), tmp_path / "saved")
    other = tiny_checkpoint(seed=1)
    save(other, tmp_path / "saved", force=True)
    again = load_checkpoint_folder(tmp_path / "saved")
    assert torch.equal(logits(again, tiny_cell(24)), logits(other, tiny_cell(24)))


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "other"}, "not a checkpoint folder"),
        ({"version": 2}, "has version 2, this c2t reads 1"),
        ({"top_k": "many"}, "top_k"),
        ({"projector": {"kind": "mlp"}}, "input_width"),
        ({"system_message": ""}, "no system message"),
    ],
)
def test_unusable_configs(tmp_path, changes, match):
    save(tiny_checkpoint(), tmp_path / "saved")
    change_config(tmp_path / "saved", **changes)
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint_folder(tmp_path / "saved")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "projector.safetensors",
        "genes.npz",
        "llama/tokenizer.json",
        "llama/model.safetensors",
        "geneformer/config.json",
    ],
)
def test_missing_and_damaged_files(tmp_path, name):
    save(tiny_checkpoint(), tmp_path / "saved")
    path = tmp_path / "saved" / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError):
        load_checkpoint_folder(tmp_path / "saved")
    path.unlink()
    with pytest.raises(CheckpointError):
        load_checkpoint_folder(tmp_path / "saved")


def test_a_rule_for_unsure_cells_goes_into_the_bundle(tmp_path):
    saved = tmp_path / "saved"
    save(tiny_checkpoint(TinySizes()), saved)
    plain = export_bundle(to_bundle(saved, tmp_path / "plain"))
    assert plain.unsure_rule is None
    (saved / UNSURE_NAME).write_bytes(json_bytes(make_rule()))
    bundle = export_bundle(to_bundle(saved, tmp_path / "stating"))
    assert bundle.unsure_rule == make_rule()
    assert UNSURE_NAME in bundle.manifest.origin.files
    bundle.check_hashes()


def test_a_damaged_rule_is_refused_before_the_weights(tmp_path, monkeypatch):
    saved = tmp_path / "saved"
    save(tiny_checkpoint(TinySizes()), saved)
    (saved / UNSURE_NAME).write_text('{"version": 1}')
    monkeypatch.setattr(folder_module, "_read_weights", lambda *_: pytest.fail("read weights"))
    with pytest.raises(BundleError, match=UNSURE_NAME):
        export_bundle(to_bundle(saved, tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def to_bundle(saved, output) -> ExportOptions:
    return ExportOptions(output=output, checkpoint=CheckpointOptions(folder=saved), golden_cells=1)
