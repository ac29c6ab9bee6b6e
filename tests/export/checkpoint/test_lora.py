import math

import pytest
import torch

from c2t.export.checkpoint.tensors.layout import DECODER, SortedTensors, sort_tensors
from c2t.export.checkpoint.tensors.lora import LoraScale, merge_lora, scale_from_config
from c2t.runtime.system.errors import CheckpointError

CONFIG = {"peft_type": "LORA", "lora_alpha": 32, "r": 16}


def scale(base_in_checkpoint=False, **changes):
    return scale_from_config(CONFIG | changes, source="a", base_in_checkpoint=base_in_checkpoint)


def test_factor():
    assert scale().factor("m", 16) == 2.0
    assert scale(use_rslora=True).factor("m", 16) == 32 / math.sqrt(16)
    assert LoraScale(alpha=None).factor("m", 5) == 2.0
    special = scale(alpha_pattern={"q_proj": 8, r"layers\.1\..*": 4})
    assert special.factor("model.layers.0.q_proj", 16) == 0.5
    assert special.factor("model.layers.1.v_proj", 16) == 0.25
    assert special.factor("model.layers.0.xq_proj", 16) == 2.0


@pytest.mark.parametrize("start", ["pissa", "olora", "corda", "loftq"])
def test_initialisations_that_change_the_base(start):
    with pytest.raises(CheckpointError, match="changed the base"):
        scale(init_lora_weights=start)
    assert scale(init_lora_weights=start, base_in_checkpoint=True).alpha == 32
    assert scale(init_lora_weights="gaussian").alpha == 32


def test_all_reasons_are_listed():
    with pytest.raises(CheckpointError) as caught:
        scale(use_dora=True, fan_in_fan_out=True, lora_bias=True, peft_type="LOHA")
    for reason in ("DoRA", "transposed", "biases", "'LOHA'"):
        assert reason in str(caught.value)


def test_merge_in_float32():
    generator = torch.Generator().manual_seed(0)
    weight, down, up = (
        torch.randn(shape, generator=generator) for shape in ((6, 5), (2, 5), (6, 2))
    )
    parts = {DECODER: {"m.weight": weight.half(), "other.weight": weight}}
    pairs = SortedTensors(lora={(DECODER, "m"): {"A": down.half(), "B": up.half()}})
    assert merge_lora(parts, pairs, LoraScale(alpha=3)) == ["decoder m"]
    merged = parts[DECODER]["m.weight"]
    expected = weight.half().double() + 1.5 * up.half().double() @ down.half().double()
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged.double(), expected, rtol=0, atol=1e-6)
    assert parts[DECODER]["other.weight"] is weight


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("decoder.llama.model.norm.weight", "model.norm.weight"),
        ("module.decoder.llama.model.norm.weight", "model.norm.weight"),
        ("_orig_mod.module.decoder.llama.model.norm.weight", "model.norm.weight"),
        ("decoder.base_model.model.llama.model.norm.weight", "model.norm.weight"),
        ("base_model.model.decoder.llama.q.base_layer.weight", "q.weight"),
        ("decoder.decoder.llama.model.norm.weight", "model.norm.weight"),
        ("decoder.llama.lm_head.modules_to_save.default.weight", "lm_head.weight"),
        ("decoder.llama.lm_head.original_module.weight", "lm_head.weight"),
    ],
)
def test_names(name, place):
    tensor = torch.ones(1)
    assert sort_tensors({name: tensor}, source="a").parts[DECODER] == {place: tensor}


def test_names_that_mean_the_same_twice():
    names = ("decoder.llama.a.weight", "module.decoder.llama.a.weight")
    with pytest.raises(CheckpointError, match="is there twice"):
        sort_tensors({name: torch.ones(1) for name in names}, source="a")
    names = [f"llama.a.lora_A.{adapter}.weight" for adapter in ("one", "two")]
    with pytest.raises(CheckpointError, match="two adapters"):
        sort_tensors({name: torch.ones(1, 1) for name in names}, source="a")
