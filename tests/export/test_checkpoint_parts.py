"""Every layout, written as its origin wrote it, gives the logits of the original model."""

import json
import warnings

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    SYSTEM_MESSAGE,
    ReferenceLayout,
    TinySizes,
    tiny_cell,
    tiny_checkpoint,
    tiny_geneformer,
    tiny_model,
    write_base_folders,
)

from c2t.export.checkpoint import load_checkpoint
from c2t.export.checkpoint_options import CheckpointOptions
from c2t.runtime.errors import CheckpointError

MLP = TinySizes()
DROPOUT = TinySizes(projector_dropout=0.1)
PERCEIVER = TinySizes(projector="perceiver")
KINDS = pytest.mark.parametrize("sizes", [MLP, DROPOUT, PERCEIVER], ids=["mlp", "drop", "perc"])
LORA_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Merging reorders the arithmetic: (W + sBA) x against W x + s B (A x).
MERGED = {"rtol": 1e-4, "atol": 1e-5}
PROMPT = tiny_checkpoint().prompt


@torch.no_grad()  # MultiheadAttention takes another path, in other order, where gradients are
def logits(model, sizes):
    return model(tiny_cell(24, sizes)[None], torch.arange(20, 30)[None], PROMPT)


def load(folders, sizes, **options):
    heads = sizes.perceiver_heads if sizes.projector == "perceiver" else None
    given = {
        "system_message": SYSTEM_MESSAGE,
        "top_k": sizes.top_k,
        "perceiver_heads": heads,
        **folders,
        **options,
    }
    return load_checkpoint(CheckpointOptions(**given))


def trained(sizes):
    """A model that differs from the base folders, which have seed 0, in all parts."""
    return tiny_model(sizes, seed=7)


def with_lora(wrapped, *, modules_to_save=None, **options):
    """Wrap as the reference does, and move B and the saved modules off their initial values."""
    config = peft.LoraConfig(
        r=4,
        target_modules=LORA_MODULES,
        modules_to_save=modules_to_save,
        **{"lora_alpha": 8} | options,
    )
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's remarks about models without a config
        adapted = peft.get_peft_model(wrapped, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return adapted.eval()


def adapted_model(original, adapted):
    """The original with the adapter at work; inside, its modules are wrapped already."""
    projector = adapted.base_model.model.cell_to_embedding
    if hasattr(projector, "modules_to_save"):
        original.projector = projector.modules_to_save["default"]
    return original


def save_adapter(adapted, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted.save_pretrained(folder)
    return folder


def projector_modules(sizes):
    if sizes.projector == "perceiver":
        return ["cell_to_embedding"]
    numbers = (0, 1, 4, 5) if sizes.projector_dropout else (0, 1, 3, 4)
    return [f"cell_to_embedding.projection.{number}" for number in numbers]


def rewrite(folder, rename):
    path = folder / "adapter_model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path)


# --- full checkpoints -------------------------------------------------------------------------


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


# --- PEFT -------------------------------------------------------------------------------------


@KINDS
def test_peft_wrapped_full_save(tmp_path, sizes):
    original = trained(sizes)
    adapted = with_lora(ReferenceLayout(original), modules_to_save=projector_modules(sizes))
    torch.save({"model_state_dict": adapted.state_dict()}, tmp_path / "wrapped.pt")
    expected = logits(adapted_model(original, adapted), sizes)
    loaded = load(write_base_folders(tmp_path, sizes), sizes, checkpoint=tmp_path / "wrapped.pt")
    torch.testing.assert_close(logits(loaded.model, sizes), expected, **MERGED)
    assert "LoRA merged into 14 weights, rank 4, alpha 2 x rank" in loaded.layout
    assert "modules_to_save" in loaded.layout


def test_full_save_with_only_the_decoder_wrapped(tmp_path):
    original = trained(MLP)
    layout = ReferenceLayout(original)
    layout.decoder = with_lora(layout.decoder)
    state = layout.state_dict()
    assert "decoder.base_model.model.llama.model.norm.weight" in state
    torch.save({"state_dict": state}, tmp_path / "wrapped.pt")
    loaded = load(write_base_folders(tmp_path), MLP, checkpoint=tmp_path / "wrapped.pt")
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
        write_base_folders(tmp_path, PERCEIVER), PERCEIVER, checkpoint=tmp_path / "wrapped.pt"
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


# --- refusals ---------------------------------------------------------------------------------


def refused(tmp_path, state, match, sizes=MLP, **options):
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=match) as caught:
        load(write_base_folders(tmp_path, sizes), sizes, checkpoint=tmp_path / "bad.pt", **options)
    return str(caught.value)


def test_every_offending_tensor_is_listed(tmp_path):
    state = ReferenceLayout(trained(MLP)).state_dict()
    message = refused(
        tmp_path, state | {"optimizer.a": torch.ones(2), "b": torch.ones(3)}, "2 tensors cannot"
    )
    assert "optimizer.a [2]" in message
    assert "- b [3]" in message

    changed = dict(state)
    del changed["decoder.llama.model.norm.weight"]
    changed["decoder.llama.model.layers.0.mlp.up_proj.weight"] = torch.ones(2, 3)
    changed["decoder.llama.model.layers.9.mlp.up_proj.weight"] = torch.ones(2, 3)
    message = refused(tmp_path, changed, "does not fit the decoder, 3 tensors")
    assert "model.norm.weight [24]: missing" in message
    assert "model.layers.0.mlp.up_proj.weight: has shape [2, 3]" in message
    assert "model.layers.9.mlp.up_proj.weight [2, 3]: has no place" in message

    changed = dict(state)
    del changed["cell_to_embedding.projection.4.bias"]
    assert "projection.4.bias [24]: missing" in refused(tmp_path, changed, "the projector, 1 tens")


def test_lora_without_its_partner_or_its_weight(tmp_path):
    original = trained(MLP)
    state = dict(with_lora(ReferenceLayout(original)).state_dict())
    name = "base_model.model.decoder.llama.model.layers.0.self_attn.q_proj"
    alone = dict(state)
    del alone[f"{name}.lora_B.default.weight"]
    assert "q_proj: only lora_A" in refused(tmp_path, alone, "cannot be placed")
    homeless = state | {
        f"{name}x.lora_A.default.weight": torch.ones(4, 24),
        f"{name}x.lora_B.default.weight": torch.ones(24, 4),
    }
    assert "q_projx: there is no such weight" in refused(tmp_path, homeless, "1 LoRA pairs")
    wrong = state | {f"{name}.lora_A.default.weight": torch.ones(4, 25)}
    assert "[24, 25]" in refused(tmp_path, wrong, "1 LoRA pairs")
    variant = state | {f"{name}.lora_magnitude_vector.default.weight": torch.ones(24)}
    refused(tmp_path, variant, "LoRA variant that cannot be merged")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"fan_in_fan_out": True}, "transposed"),
        ({"init_lora_weights": "pissa_niter_4"}, "changed the base weights"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"lora_alpha": None}, "lora_alpha is None"),
    ],
)
def test_adapters_that_cannot_be_merged(tmp_path, changes, match):
    adapted = with_lora(ReferenceLayout(tiny_model(MLP)), modules_to_save=projector_modules(MLP))
    folder = save_adapter(adapted, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=match):
        load(write_base_folders(tmp_path), MLP, adapter=folder)


def test_dora_adapter_is_refused_by_its_tensors_too(tmp_path):
    adapted = with_lora(ReferenceLayout(tiny_model(MLP)), use_dora=True)
    with pytest.raises(CheckpointError, match=r"DoRA|variant"):
        load(write_base_folders(tmp_path), MLP, adapter=save_adapter(adapted, tmp_path / "a"))


def test_lora_is_not_applied_twice(tmp_path):
    adapted = with_lora(ReferenceLayout(tiny_model(MLP)))
    folder = save_adapter(adapted, tmp_path / "adapter")
    refused(tmp_path, adapted.state_dict(), "both .* hold LoRA", adapter=folder)


def test_no_projector_anywhere(tmp_path):
    adapted = with_lora(ReferenceLayout(tiny_model(MLP)))
    with pytest.raises(CheckpointError, match="no projector"):
        load(write_base_folders(tmp_path), MLP, adapter=save_adapter(adapted, tmp_path / "a"))


def test_perceiver_adapter_without_latents_says_so(tmp_path):
    """`latents` is no module: a list of trained modules misses it, as older adapters show."""
    modules = [f"cell_to_embedding.{name}" for name in ("input_projection", "final_norm")]
    adapted = with_lora(ReferenceLayout(tiny_model(PERCEIVER)), modules_to_save=modules)
    folder = save_adapter(adapted, tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="lacks: latents"):
        load(write_base_folders(tmp_path, PERCEIVER), PERCEIVER, adapter=folder)


def test_perceiver_heads_must_divide_the_width(tmp_path):
    state = ReferenceLayout(trained(PERCEIVER)).state_dict()
    refused(tmp_path, state, "cannot have 7 attention heads", sizes=PERCEIVER, perceiver_heads=7)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    refused(tmp_path, {"a": Malicious()}, "as weights")
    assert not (tmp_path / "ran").exists()


def test_missing_system_message_and_parts(tmp_path):
    state = ReferenceLayout(trained(MLP)).state_dict()
    refused(tmp_path, state, "no system message", system_message=None)
    folders = write_base_folders(tmp_path / "b")
    with pytest.raises(CheckpointError, match="nothing trained was named"):
        load(folders, MLP)
    with pytest.raises(CheckpointError, match="both --geneformer and --llama"):
        load({}, MLP, checkpoint=tmp_path / "bad.pt")


def test_folders_of_other_models(tmp_path):
    torch.save(ReferenceLayout(trained(MLP)).state_dict(), tmp_path / "c.pt")
    folders = write_base_folders(tmp_path)
    swapped = {"geneformer": folders["llama"], "llama": folders["llama"]}
    with pytest.raises(CheckpointError, match="model_type is 'llama', not 'bert'"):
        load(swapped, MLP, checkpoint=tmp_path / "c.pt")


def test_wrong_or_missing_dictionaries(tmp_path):
    torch.save(ReferenceLayout(trained(MLP)).state_dict(), tmp_path / "c.pt")
    folders = write_base_folders(tmp_path)
    other = write_base_folders(tmp_path / "other", TinySizes(genes=50))
    with pytest.raises(CheckpointError, match=r"has 54 tokens, .* 64 rows"):
        load(
            folders,
            MLP,
            checkpoint=tmp_path / "c.pt",
            token_dictionary=other["geneformer"] / "token_dictionary_tiny.pkl",
        )
    (folders["geneformer"] / "gene_median_dictionary_tiny.pkl").unlink()
    with pytest.raises(CheckpointError, match="gene_medians"):
        load(folders, MLP, checkpoint=tmp_path / "c.pt")
