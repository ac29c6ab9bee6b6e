"""Checkpoints as the reference and PEFT write them, and what their models must compute."""

import warnings

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    SYSTEM_MESSAGE,
    TinySizes,
    tiny_cell,
    tiny_checkpoint,
    tiny_model,
    tiny_projector_config,
)

from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions

MLP = TinySizes()
DROPOUT = TinySizes(projector_dropout=0.1)
PERCEIVER = TinySizes(projector="perceiver")
QFORMER = TinySizes(projector="qformer")
KINDS = pytest.mark.parametrize(
    "sizes", [MLP, DROPOUT, PERCEIVER, QFORMER], ids=["mlp", "drop", "perc", "qformer"]
)
LORA_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Merging reorders the arithmetic: (W + sBA) x against W x + s B (A x).
MERGED = {"rtol": 1e-4, "atol": 1e-5}
PROMPT = tiny_checkpoint().prompt


@torch.no_grad()  # MultiheadAttention takes another path, in other order, where gradients are
def logits(model, sizes):
    return model(tiny_cell(24, sizes)[None], torch.arange(20, 30)[None], PROMPT)


def load(folders, sizes, **options):
    heads = sizes.perceiver_heads if sizes.projector == "perceiver" else None
    own_heads = tiny_projector_config(sizes).heads if sizes.projector == "qformer" else None
    given = {
        "system_message": SYSTEM_MESSAGE,
        "top_k": sizes.top_k,
        "perceiver_heads": heads,
        "qformer_heads": own_heads,
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
    if sizes.projector != "mlp":
        return ["cell_to_embedding"]
    numbers = (0, 1, 4, 5) if sizes.projector_dropout else (0, 1, 3, 4)
    return [f"cell_to_embedding.projection.{number}" for number in numbers]


def rewrite(folder, rename):
    path = folder / "adapter_model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path)
