"""Qwen3 against transformers, and the configs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_decoders import check_against_transformers, read_changed, tiny_decoder_of

from c2t.runtime.system.errors import CheckpointError

TYPES = ["full_attention", "sliding_attention", "full_attention"]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True},
    "types of layers": {"use_sliding_window": True, "sliding_window": 9, "layer_types": TYPES},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_prefill_and_steps_equal_transformers(tmp_path: Path, name: str) -> None:
    check_against_transformers(tiny_decoder_of("qwen3", **VARIANTS[name]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hidden_act": "gelu"}, "activation is 'gelu'"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, "longrope"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"attention_multiplier": 0.1}, "attention_multiplier is 0.1, which c2t does not read"),
        ({"logit_scale": 0.1}, "logit_scale is 0.1"),
        ({"num_key_value_heads": 3}, "cannot share 3"),
        ({"use_sliding_window": True, "sliding_window": 0}, "sliding_window is 0"),
        ({"layer_types": ["full_attention"] * 2}, "number of layer types"),
        ({"layer_types": ["chunked_attention"] * 3}, "chunked_attention"),
        ({"layer_types": TYPES, "use_sliding_window": False}, "has no sliding_window"),
    ],
)
def test_what_would_change_numbers_is_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_changed("qwen3", tmp_path, **changes)
