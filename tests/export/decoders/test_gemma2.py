"""Gemma-2 against transformers, its window and caps, and the configs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_decoders import (
    GraphRun,
    check_against_transformers,
    random_rows,
    read_changed,
    tiny_config,
    tiny_decoder_of,
    write_tiny_graph,
)

from c2t.runtime.system.errors import CheckpointError

TYPES = ["full_attention", "sliding_attention", "full_attention"]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    "untied, biases": {"tie_word_embeddings": False, "attention_bias": True},
    "types of layers": {"layer_types": TYPES},
    "wide heads": {"head_dim": 256, "query_pre_attn_scalar": 256},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_prefill_and_steps_equal_transformers(tmp_path: Path, name: str) -> None:
    check_against_transformers(tiny_decoder_of("gemma2", **VARIANTS[name]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, "longrope"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"attention_multiplier": 0.1}, "attention_multiplier is 0.1, which c2t does not read"),
        ({"logit_scale": 0.1}, "logit_scale is 0.1"),
        ({"num_key_value_heads": 3}, "cannot share 3"),
        ({"hidden_activation": "gelu"}, "activation is 'gelu'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', which c2t does not read"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ({"attn_logit_softcapping": 0}, "attn_logit_softcapping is 0"),
        ({"final_logit_softcapping": -3.0}, "final_logit_softcapping is -3.0"),
        ({"query_pre_attn_scalar": "256"}, "query_pre_attn_scalar is '256'"),
        ({"sliding_window": None}, "has no sliding_window"),
        ({"layer_types": ["sliding_attention"]}, "number of layer types"),
    ],
)
def test_what_would_change_numbers_is_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_changed("gemma2", tmp_path, **changes)


def test_rows_behind_a_window_do_not_see_what_lies_before_it(tmp_path: Path) -> None:
    model = tiny_decoder_of(
        "gemma2", num_hidden_layers=1, sliding_window=7, layer_types=["sliding_attention"]
    )
    run = GraphRun(write_tiny_graph(model, tmp_path), model.config)
    rows = random_rows(model.config, 30).numpy()
    changed = rows.copy()
    changed[:, 10] += 1
    difference = np.abs(run.logits(rows, [30]) - run.logits(changed, [30])).max(axis=(0, 2))
    assert np.flatnonzero(difference).tolist() == [*range(10, 17)]


def test_a_window_as_wide_as_the_positions_needs_no_mask(tmp_path: Path) -> None:
    for window, masks in ((512, 0), (511, 1)):  # one for all layers
        model = tiny_decoder_of("gemma2", sliding_window=window)
        graph = onnx.load(write_tiny_graph(model, tmp_path), load_external_data=False).graph
        operators = [node.op_type for node in graph.node]
        assert [operators.count(name) for name in ("Greater", "Sub")] == [masks] * 2


def test_caps_change_logits() -> None:
    """The reference has them: PyTorch's own attention would leave them out."""
    rows = random_rows(tiny_config("gemma2"), 40)
    found = [
        tiny_decoder_of("gemma2", **caps)(inputs_embeds=rows).logits
        for caps in ({}, {"attn_logit_softcapping": None}, {"final_logit_softcapping": None})
    ]
    assert (found[0] - found[1]).abs().max() > 0.01
    assert (found[0] - found[2]).abs().max() > 0.01


def test_a_published_config(tmp_path: Path) -> None:
    config = read_changed(
        "gemma2", tmp_path, drop=["layer_types"], cache_implementation="hybrid",
        hidden_act="gelu_pytorch_tanh",
    )  # fmt: skip
    assert config.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]
