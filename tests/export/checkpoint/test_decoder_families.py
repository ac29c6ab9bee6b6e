"""Checkpoints whose decoder is of each family: full states, adapters, our own folders."""

from __future__ import annotations

import warnings
from pathlib import Path

import peft
import pytest
import torch
from family_bundles import SIZES, family_checkpoint, family_folders
from reference_checkpoints import PROMPT, load, save_adapter
from tiny_models import ReferenceLayout, tiny_cell

from c2t.export.checkpoint.folder import save_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.decoders.families import FAMILIES
from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.pipeline import ExportOptions, export_bundle

OTHER_NAMES = {
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
}
# Merging reorders the arithmetic, of logits up to 20.
MERGED = {"rtol": 1e-4, "atol": 1e-4}
LLAMA_NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EVERY = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@torch.no_grad()
def logits(loaded: LoadedCheckpoint) -> torch.Tensor:
    cell = tiny_cell(24, SIZES)
    return loaded.model(cell[None], torch.arange(20, 30)[None], PROMPT)


def with_lora(wrapped: torch.nn.Module, family: str) -> peft.PeftModel:
    names = OTHER_NAMES.get(family, LLAMA_NAMES)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=names)
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's remarks about models without a config
        adapted = peft.get_peft_model(wrapped, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return adapted.eval()


@EVERY
def test_a_full_state_and_our_own_folder(tmp_path: Path, family: str) -> None:
    """The weights of the checkpoint, not those of the folders; then once more, through a save."""
    original = family_checkpoint(family)
    torch.save(ReferenceLayout(original.model).state_dict(), tmp_path / "best.pt")
    folders = family_folders(tmp_path, family)
    loaded = load(folders, SIZES, checkpoint=tmp_path / "best.pt")
    assert torch.equal(logits(loaded), logits(original))
    again = tmp_path / "saved"
    save_checkpoint(
        again,
        model=loaded.model,
        genes=loaded.genes,
        tokenizer=loaded.tokenizer,
        settings=loaded.settings,
    )
    options = ExportOptions(
        output=tmp_path / "bundle", checkpoint=CheckpointOptions(folder=again, max_new_tokens=8)
    )
    bundle = export_bundle(options)
    assert bundle.manifest.decoder.model.startswith(f"{FAMILIES[family].name}, 3 layers")


@EVERY
def test_an_adapter(tmp_path: Path, family: str) -> None:
    original = family_checkpoint(family)
    state = ReferenceLayout(original.model).state_dict()
    torch.save({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "base.pt")
    plain = logits(original)
    folder = save_adapter(
        with_lora(ReferenceLayout(original.model).decoder.llama, family), tmp_path / "adapter"
    )
    expected = logits(original)
    assert (expected - plain).abs().max() > 0.01
    loaded = load(
        family_folders(tmp_path, family),
        SIZES,
        adapter=folder,
        checkpoint=tmp_path / "base.pt",
    )
    torch.testing.assert_close(logits(loaded), expected, **MERGED)
    linears = 3 * len(OTHER_NAMES.get(family, LLAMA_NAMES))
    assert f"LoRA merged into {linears} weights, rank 4, alpha 8" in loaded.layout
    assert "names of the decoder alone" in loaded.layout


def test_an_old_save_of_pythia_holds_masks(tmp_path: Path) -> None:
    original = family_checkpoint("gpt_neox")
    state = ReferenceLayout(original.model).state_dict()
    for layer in range(3):
        own = f"decoder.llama.gpt_neox.layers.{layer}.attention."
        state[f"{own}bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        state[f"{own}masked_bias"] = torch.tensor(-1e9)
        state[f"{own}rotary_emb.inv_freq"] = torch.ones(2)
    torch.save(state, tmp_path / "best.pt")
    folders = family_folders(tmp_path, "gpt_neox")
    loaded = load(folders, SIZES, checkpoint=tmp_path / "best.pt")
    assert torch.equal(logits(loaded), logits(original))


def test_a_decoder_s_folder_of_another_family(tmp_path: Path) -> None:
    """Qwen2's biases have no place in a Llama: the folder is of another model."""
    original = family_checkpoint("qwen2")
    torch.save(ReferenceLayout(original.model).state_dict(), tmp_path / "best.pt")
    folders = family_folders(tmp_path, "llama")
    with pytest.raises(Exception, match=r"q_proj.bias \[64\]: has no place in the decoder"):
        load(folders, SIZES, checkpoint=tmp_path / "best.pt")
