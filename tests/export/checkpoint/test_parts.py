"""Full checkpoints, written as their origin wrote them, give the logits of the original model."""

import json

import pytest
import torch
from reference_checkpoints import KINDS, MLP, PERCEIVER, PROMPT, load, logits, trained
from safetensors.torch import save_file
from tiny_models import ReferenceLayout, tiny_checkpoint, tiny_geneformer, write_base_folders

from c2t.runtime.system.errors import CheckpointError


@KINDS
@pytest.mark.parametrize("kind", ["plain", "model_state_dict", "state_dict"])
def test_full_state_dict(tmp_path, sizes, kind):
    original = trained(sizes)
    state = ReferenceLayout(original).state_dict()
    torch.save(state if kind == "plain" else {kind: state, "epoch": 3}, tmp_path / "best.pt")
    loaded = load(write_base_folders(tmp_path, sizes), sizes, checkpoint=tmp_path / "best.pt")
    assert torch.equal(logits(loaded.model, sizes), logits(original, sizes))
    assert f"full checkpoint ({kind}: encoder + projector + decoder)" in loaded.layout
    assert sizes.projector in loaded.layout
    assert loaded.prompt == PROMPT
    assert loaded.generation.eos_token_ids == tiny_checkpoint().generation.eos_token_ids
    assert loaded.generation.no_repeat_ngram_size == 3
    assert (loaded.genes.alias == tiny_checkpoint(sizes).genes.alias).all()
    assert set(loaded.source_files) >= {"checkpoint", "token_dictionary", "llama/config.json"}


@pytest.mark.parametrize("times", [1, 2])
def test_safetensors_with_module_prefixes(tmp_path, times):
    original = trained(MLP)
    layout = ReferenceLayout(original)
    state = {
        f"{part}." * times + key: tensor.clone()
        for part in ("cell_encoder", "decoder", "cell_to_embedding")
        for key, tensor in layout.get_submodule(part).state_dict().items()
    }
    save_file(state, tmp_path / "model.safetensors")
    loaded = load(write_base_folders(tmp_path), MLP, checkpoint=tmp_path / "model.safetensors")
    assert torch.equal(logits(loaded.model, MLP), logits(original, MLP))
    assert "safetensors" in loaded.layout
    assert ("doubled prefixes" in loaded.layout) == (times == 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_converted_exactly(tmp_path, dtype):
    original = trained(PERCEIVER)
    layout = ReferenceLayout(original)
    half = {name: tensor.to(dtype) for name, tensor in layout.state_dict().items()}
    torch.save(half, tmp_path / "half.pt")
    layout.load_state_dict(half)  # rounds the original
    loaded = load(
        write_base_folders(tmp_path, PERCEIVER), PERCEIVER, checkpoint=tmp_path / "half.pt"
    )
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert torch.equal(logits(loaded.model, PERCEIVER), logits(original, PERCEIVER))


def test_reference_config_beside_the_checkpoint_gives_settings(tmp_path):
    original = trained(MLP)
    torch.save(ReferenceLayout(original).state_dict(), tmp_path / "pytorch_model.bin")
    config = {"projector": "mlp", "decoder_hidden_size": 24, "top_k": 5, "emb_layer": 0}
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_length": 77}))
    folders = write_base_folders(tmp_path)
    loaded = load(folders, MLP, checkpoint=tmp_path / "pytorch_model.bin", top_k=None)
    assert (loaded.model.top_k, loaded.model.emb_layer) == (5, 0)
    assert loaded.generation.max_new_tokens == 77
    (tmp_path / "config.json").write_text(json.dumps(config | {"emb_mode": "cell"}))
    with pytest.raises(CheckpointError, match="emb_mode is 'cell'"):
        load(folders, MLP, checkpoint=tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize("shard", ["10KB", "5GB"])
@pytest.mark.parametrize("safe", [True, False])
def test_base_folders_in_any_form(tmp_path, safe, shard):
    """An encoder that the checkpoint does not hold comes from its folder."""
    original = trained(MLP)
    state = ReferenceLayout(original).state_dict()
    torch.save({k: v for k, v in state.items() if "cell_encoder" not in k}, tmp_path / "c.pt")
    folders = write_base_folders(tmp_path, safe=safe)
    for file in (
        *folders["geneformer"].glob("*.safetensors"),
        *folders["geneformer"].glob("*.bin"),
    ):
        file.unlink()
    tiny_geneformer(MLP, seed=7).save_pretrained(
        folders["geneformer"], max_shard_size=shard, safe_serialization=safe
    )
    assert len([*folders["geneformer"].glob("*.index.json")]) == (shard == "10KB")
    loaded = load(folders, MLP, checkpoint=tmp_path / "c.pt")
    assert torch.equal(logits(loaded.model, MLP), logits(original, MLP))
    assert "encoder from geneformer" in loaded.layout
