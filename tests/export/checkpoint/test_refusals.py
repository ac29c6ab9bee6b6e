"""What cannot be loaded is refused, and every offending tensor named."""

import json

import pytest
import torch
from reference_checkpoints import (
    MLP,
    PERCEIVER,
    load,
    projector_modules,
    save_adapter,
    trained,
    with_lora,
)
from tiny_models import ReferenceLayout, TinySizes, tiny_model, write_base_folders

from c2t.runtime.system.errors import CheckpointError


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
    state_alpha = {"lora_alpha": 8}
    homeless = state | {
        f"{name}x.lora_A.default.weight": torch.ones(4, 24),
        f"{name}x.lora_B.default.weight": torch.ones(24, 4),
    }
    assert "q_projx: there is no such weight" in refused(
        tmp_path, homeless, "1 LoRA pairs", **state_alpha
    )
    wrong = state | {f"{name}.lora_A.default.weight": torch.ones(4, 25)}
    assert "[24, 25]" in refused(tmp_path, wrong, "1 LoRA pairs", **state_alpha)
    variant = state | {f"{name}.lora_magnitude_vector.default.weight": torch.ones(24)}
    refused(tmp_path, variant, "LoRA variant that cannot be merged")
    refused(tmp_path, state, "LoRA weights of rank 4, but no file says their alpha")


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
    other = {
        name: tensor + ("lora_A" in name) * 0.1 for name, tensor in adapted.state_dict().items()
    }
    refused(tmp_path, other, "both .* hold LoRA weights, and they differ", adapter=folder)


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
    with pytest.raises(CheckpointError, match="model_type is 'llama', which c2t cannot"):
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
