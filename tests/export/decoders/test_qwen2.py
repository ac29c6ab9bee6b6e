"""Qwen2 and Qwen2.5 against transformers, and the configs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_decoders import check_against_transformers, read_changed, tiny_decoder_of

from c2t.runtime.system.errors import CheckpointError

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
TYPES = ["full_attention", "sliding_attention", "full_attention"]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "yarn": {"rope_scaling": YARN},
    "windows from layer 1": {
        "use_sliding_window": True,
        "sliding_window": 9,
        "max_window_layers": 1,
    },
    "types of layers": {"use_sliding_window": True, "sliding_window": 9, "layer_types": TYPES},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_prefill_and_steps_equal_transformers(tmp_path: Path, name: str) -> None:
    check_against_transformers(tiny_decoder_of("qwen2", **VARIANTS[name]), tmp_path)


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
        ({"use_mrope": True}, "use_mrope is True"),
        ({"attention_bias": False, "mlp_bias": True}, "mlp_bias is True"),
    ],
)
def test_what_would_change_numbers_is_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_changed("qwen2", tmp_path, **changes)


def test_a_config_of_transformers_5(tmp_path: Path) -> None:
    """A window that is not used is no window; the base of the angles has another place."""
    rope = {"rope_theta": 1e6, "rope_type": "default"}
    config = read_changed(
        "qwen2", tmp_path, drop=["rope_theta", "rope_scaling"], rope_parameters=rope,
        layer_types=["full_attention"] * 3, sliding_window=None,
    )  # fmt: skip
    assert (config.rope_theta, config.sliding_window) == (1e6, None)
