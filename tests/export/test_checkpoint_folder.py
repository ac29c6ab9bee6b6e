import pytest
import torch
from tiny_models import TinySizes, tiny_cell, tiny_checkpoint

from c2t.export.checkpoint_folder import (
    is_checkpoint_folder,
    load_checkpoint_folder,
    save_checkpoint,
)

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
    assert is_checkpoint_folder(tmp_path / "saved")
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
