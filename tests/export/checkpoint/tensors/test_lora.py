import math

import pytest
import torch

from c2t.export.checkpoint.tensors.adapter_config import LoraScale, scale_from_config
from c2t.export.checkpoint.tensors.layout import DECODER, SortedTensors, sort_tensors
from c2t.export.checkpoint.tensors.lora import merge_lora
from c2t.runtime.system.errors import CheckpointError

CONFIG = {"peft_type": "LORA", "lora_alpha": 32, "r": 16}


def scale(base_in_checkpoint=False, **changes):
    return scale_from_config(CONFIG | changes, source="a", base_in_checkpoint=base_in_checkpoint)


def test_factor():
    assert scale().factor("m", 16) == 2.0
    assert scale(use_rslora=True).factor("m", 16) == 32 / math.sqrt(16)
    special = scale(alpha_pattern={"q_proj": 8, r"layers\.1\..*": 4})
    assert special.factor("model.layers.0.q_proj", 16) == 0.5
    assert special.factor("model.layers.1.v_proj", 16) == 0.25
    assert special.factor("model.layers.0.xq_proj", 16) == 2.0
    full = scale(alpha_pattern={"^decoder.llama.q_proj": 8})
    assert full.factor("decoder.llama.q_proj", 16) == 0.5
    assert full.factor("other.decoder.llama.q_proj", 16) == 2.0


def test_a_config_of_other_modules_or_ranks():
    ranks = {"llama.q_proj": 4, "llama.v_proj": 16}
    scale(rank_pattern={"q_proj": 4}).check_modules(ranks)
    with pytest.raises(
        CheckpointError, match=r"says rank 16 for llama\.q_proj, the weights have 4"
    ):
        scale().check_modules(ranks)
    with pytest.raises(CheckpointError, match="alpha_pattern matches no module: x_proj"):
        scale(rank_pattern={"q_proj": 4}, alpha_pattern={"x_proj": 1}).check_modules(ranks)


@pytest.mark.parametrize("start", ["pissa", "olora", "corda", "loftq", "lora_ga", "to_come"])
def test_initialisations_that_change_the_base(start):
    with pytest.raises(CheckpointError, match="changed the base"):
        scale(init_lora_weights=start)
    assert scale(init_lora_weights=start, base_in_checkpoint=True).alpha == 32
    assert scale(init_lora_weights="gaussian").alpha == 32


def test_all_reasons_are_listed():
    with pytest.raises(CheckpointError) as caught:
        scale(use_dora=True, fan_in_fan_out=True, lora_bias=True, lora_alpha=None, to_come=[1])
    for reason in ("DoRA", "transposed", "biases", "lora_alpha is None", "to_come is [1]"):
        assert reason in str(caught.value)
    with pytest.raises(CheckpointError, match="peft_type is 'LOHA', not 'LORA'"):
        scale(peft_type="LOHA")


def test_merge_in_float32():
    generator = torch.Generator().manual_seed(0)
    weight, down, up = (
        torch.randn(shape, generator=generator) for shape in ((6, 5), (2, 5), (6, 2))
    )
    parts = {DECODER: {"m.weight": weight.half(), "other.weight": weight}}
    place = (DECODER, "m")
    pairs = SortedTensors(
        lora={place: {"A": down.half(), "B": up.half()}}, wrapped_names={place: "m"}
    )
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
        ("decoder.llama._orig_mod.model.norm.weight", "model.norm.weight"),
        ("decoder.llama.model.layers.0._fsdp_wrapped_module.n.weight", "model.layers.0.n.weight"),
        ("net.decoder.llama.model.norm.weight", "model.norm.weight"),
        ("model.module.base_model.model.decoder.llama.q.base_layer.weight", "q.weight"),
        ("base_model.model.model.decoder.llama.q.base_layer.weight", "q.weight"),
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
    with pytest.raises(CheckpointError, match="holds 2 adapters: one, two"):
        sort_tensors({name: torch.ones(1, 1) for name in names}, source="a")
    names = ("model.decoder.llama.a.weight", "ema.decoder.llama.a.weight")
    with pytest.raises(
        CheckpointError, match=r"more than one model: names start at `ema\.`, `model"
    ):
        sort_tensors({name: torch.ones(1) for name in names}, source="a")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("llama.q.lora_embedding_A", "LoRA on an embedding"),
        ("llama.q.token_adapter.trainable_tokens_delta", "trained token rows"),
        ("llama.q.lora_magnitude_vector.default.weight", "DoRA"),
        ("llama._flat_param", "FULL_STATE_DICT"),
        ("base_model.vera_A", "VeRA"),
    ],
)
def test_names_of_other_methods_are_refused_by_name(name, match):
    with pytest.raises(CheckpointError, match=match):
        sort_tensors({name: torch.ones(1)}, source="a")


def test_empty_tensors_are_shards_of_zero3():
    with pytest.raises(CheckpointError, match="1 of 1 tensors are empty") as caught:
        sort_tensors({"decoder.llama.a.weight": torch.ones(0)}, source="a")
    assert "ZeRO-3" in caught.value.hint
