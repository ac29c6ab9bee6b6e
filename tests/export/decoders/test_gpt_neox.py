"""GPT-NeoX against transformers, and the configs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_decoders import check_against_transformers, read_changed, tiny_decoder_of

from c2t.runtime.system.errors import CheckpointError

VARIANTS: dict[str, dict[str, Any]] = {
    "parallel": {},
    "one after the other": {"use_parallel_residual": False},
    "whole heads": {"rotary_pct": 1.0, "rotary_emb_base": 500},
    "half of a head": {"rotary_pct": 0.5},
    "tanh": {"hidden_act": "gelu_fast"},
    "no biases": {"attention_bias": False},
    "tied": {"tie_word_embeddings": True},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_prefill_and_steps_equal_transformers(tmp_path: Path, name: str) -> None:
    check_against_transformers(tiny_decoder_of("gpt_neox", **VARIANTS[name]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hidden_act": "relu"}, "activation is 'relu'"),
        ({"rotary_pct": 0.1, "partial_rotary_factor": 0.1}, "rotary_pct is 0.1, of heads of 16"),
        ({"rotary_pct": 0.2, "partial_rotary_factor": 0.2}, "rotary_pct is 0.2, of"),
        ({"rotary_pct": 2.0, "partial_rotary_factor": 2.0}, "rotary_pct is 2.0, of"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, but rotary_pct is 0.25"),
        ({"rope_theta": 77}, "rope_theta is 77, but rotary_emb_base is 10000"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, "longrope"),
        ({"use_parallel_residual": 1}, "use_parallel_residual is 1"),
        ({"num_key_value_heads": 2}, "num_key_value_heads is 2, which c2t does not read"),
        ({"sliding_window": 64}, "sliding_window is 64"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0"),
    ],
)
def test_what_would_change_numbers_is_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_changed("gpt_neox", tmp_path, **changes)


def test_a_published_config(tmp_path: Path) -> None:
    """As Pythia's: without the names that transformers added since."""
    newer = ["rope_theta", "partial_rotary_factor", "rope_scaling", "attention_bias"]
    config = read_changed("gpt_neox", tmp_path, drop=newer, rotary_pct=0.5)
    assert (config.rotary_pct, config.partial_rotary_factor, config.attention_bias) == (
        0.5, 0.5, True,
    )  # fmt: skip


def test_a_config_of_transformers_5(tmp_path: Path) -> None:
    rope = {"rope_theta": 500.0, "rope_type": "default", "partial_rotary_factor": 0.5}
    older = ["rope_theta", "partial_rotary_factor", "rope_scaling", "rotary_pct", "rotary_emb_base"]
    config = read_changed("gpt_neox", tmp_path, drop=older, rope_parameters=rope)
    assert (config.rotary_pct, config.rope_theta) == (0.5, 500.0)
    rope["rope_theta"] = 10000
    with pytest.raises(CheckpointError, match=r"rotary_pct is 0.25, but rope_parameters says 0.5"):
        read_changed("gpt_neox", tmp_path, rope_parameters=rope)
