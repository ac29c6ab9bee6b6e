"""Checkpoints with LoRA, as PEFT writes and wraps them, give the logits of the adapted model."""

import pytest
import torch
from reference_checkpoints import (
    KINDS,
    MERGED,
    MLP,
    PERCEIVER,
    adapted_model,
    load,
    logits,
    projector_modules,
    rewrite,
    save_adapter,
    trained,
    with_lora,
)
from safetensors.torch import load_file
from tiny_models import ReferenceLayout, tiny_model, write_base_folders


@KINDS
def test_peft_wrapped_full_save(tmp_path, sizes):
    original = trained(sizes)
    adapted = with_lora(ReferenceLayout(original), modules_to_save=projector_modules(sizes))
    torch.save({"model_state_dict": adapted.state_dict()}, tmp_path / "wrapped.pt")
    expected = logits(adapted_model(original, adapted), sizes)
    loaded = load(
        write_base_folders(tmp_path, sizes),
        sizes,
        checkpoint=tmp_path / "wrapped.pt",
        lora_alpha=8,
    )
    torch.testing.assert_close(logits(loaded.model, sizes), expected, **MERGED)
    assert "LoRA merged into 14 weights, rank 4, alpha 8" in loaded.layout
    assert "modules_to_save" in loaded.layout


def test_full_save_with_only_the_decoder_wrapped(tmp_path):
    original = trained(MLP)
    layout = ReferenceLayout(original)
    layout.decoder = with_lora(layout.decoder)
    state = layout.state_dict()
    assert "decoder.base_model.model.llama.model.norm.weight" in state
    torch.save({"state_dict": state}, tmp_path / "wrapped.pt")
    folders = write_base_folders(tmp_path)
    loaded = load(folders, MLP, checkpoint=tmp_path / "wrapped.pt", lora_alpha=8)
    torch.testing.assert_close(logits(loaded.model, MLP), logits(original, MLP), **MERGED)


def test_peft_wrapped_lists_of_blocks(tmp_path):
    """Older PEFT wrapped whole module lists: the wrapper's name comes before a number."""
    original = trained(PERCEIVER)
    adapted = with_lora(ReferenceLayout(original), modules_to_save=["cell_to_embedding"])
    state = {}
    for name, tensor in adapted.state_dict().items():
        for wrapper in ("modules_to_save.default.", "original_module."):
            for blocks in ("cross_attention_layers.", "self_attention_layers."):
                name = name.replace(wrapper + blocks, blocks + wrapper)
        state[name] = tensor
    assert any("self_attention_layers.modules_to_save.default.1.norm1" in name for name in state)
    torch.save(state, tmp_path / "wrapped.pt")
    loaded = load(
        write_base_folders(tmp_path, PERCEIVER),
        PERCEIVER,
        checkpoint=tmp_path / "wrapped.pt",
        lora_alpha=8,
    )
    expected = logits(adapted_model(original, adapted), PERCEIVER)
    torch.testing.assert_close(logits(loaded.model, PERCEIVER), expected, **MERGED)


def test_peft_wrapped_full_save_with_other_alpha(tmp_path):
    original = trained(MLP)
    adapted = with_lora(ReferenceLayout(original), lora_alpha=24, use_rslora=True)
    expected = logits(original, MLP)
    (tmp_path / "run").mkdir()
    torch.save(adapted.state_dict(), tmp_path / "run" / "w.pt")
    folders = write_base_folders(tmp_path)
    adapted.peft_config["default"].save_pretrained(tmp_path / "run")
    loaded = load(folders, MLP, checkpoint=tmp_path / "run" / "w.pt")
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)
    assert "alpha 24, rank-stabilised" in loaded.layout

    (tmp_path / "run" / "adapter_config.json").unlink()
    loaded = load(folders, MLP, checkpoint=tmp_path / "run" / "w.pt", lora_alpha=24 * 2.0)
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)  # 24/sqrt(4) = 48/4


@KINDS
@pytest.mark.parametrize("spelling", ["as PEFT writes it", "with .default", "checkpoint too"])
def test_adapter_folder(tmp_path, sizes, spelling):
    original = tiny_model(sizes)  # the base folders hold the same encoder and decoder
    state = ReferenceLayout(original).state_dict()
    torch.save({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "base.pt")
    adapted = with_lora(ReferenceLayout(original), modules_to_save=projector_modules(sizes))
    folder = save_adapter(adapted, tmp_path / "adapter")
    if spelling == "with .default":
        rewrite(
            folder,
            lambda name: name.replace(".weight", ".default.weight") if "lora_" in name else name,
        )
    expected = logits(adapted_model(original, adapted), sizes)
    options = {"checkpoint": tmp_path / "base.pt"} if spelling == "checkpoint too" else {}
    loaded = load(write_base_folders(tmp_path, sizes), sizes, adapter=folder, **options)
    torch.testing.assert_close(logits(loaded.model, sizes), expected, **MERGED)
    assert "adapter (safetensors: projector + LoRA, PEFT names" in loaded.layout
    assert "alpha 8" in loaded.layout


@pytest.mark.parametrize("default", [True, False])
def test_old_adapter_of_the_decoder_alone(tmp_path, default):
    original = trained(MLP)
    layout = ReferenceLayout(original)
    torch.save(
        {name: tensor.clone() for name, tensor in layout.state_dict().items()}, tmp_path / "c.pt"
    )
    adapted = with_lora(layout.decoder, alpha_pattern={"layers.1.mlp.up_proj": 3})
    folder = save_adapter(adapted, tmp_path / "adapter")
    names = set(load_file(folder / "adapter_model.safetensors"))
    assert "base_model.model.llama.model.layers.0.self_attn.q_proj.lora_A.weight" in names
    if default:
        rewrite(folder, lambda name: name.replace(".weight", ".default.weight"))
    expected = logits(original, MLP)
    loaded = load(write_base_folders(tmp_path), MLP, adapter=folder, checkpoint=tmp_path / "c.pt")
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)
    assert "old names without `decoder.`" in loaded.layout
