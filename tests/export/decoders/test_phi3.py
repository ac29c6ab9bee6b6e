"""Phi-3 against transformers, and the configs that are refused."""

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
    tiny_decoder_of,
    write_tiny_graph,
)

from c2t.runtime.system.errors import CheckpointError

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no window": {"sliding_window": None},
    "part of a head": {"partial_rotary_factor": 0.5, "hidden_size": 64},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_prefill_and_steps_equal_transformers(tmp_path: Path, name: str) -> None:
    check_against_transformers(tiny_decoder_of("phi3", **VARIANTS[name]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hidden_act": "gelu"}, "activation is 'gelu'"),
        ({"partial_rotary_factor": 0.1}, "partial_rotary_factor is 0.1"),
        (
            {
                "rope_scaling": {
                    "type": "longrope",
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                }
            },
            "rotary scheme is 'longrope'",
        ),
        ({"attention_bias": True}, "attention_bias is True, which c2t does not read"),
    ],
)
def test_what_would_change_numbers_is_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_changed("phi3", tmp_path, **changes)


def test_rows_behind_a_window_do_not_see_what_lies_before_it(tmp_path: Path) -> None:
    model = tiny_decoder_of("phi3", num_hidden_layers=1, sliding_window=7)
    run = GraphRun(write_tiny_graph(model, tmp_path), model.config)
    rows = random_rows(model.config, 30).numpy()
    changed = rows.copy()
    changed[:, 10] += 1
    difference = np.abs(run.logits(rows, [30]) - run.logits(changed, [30])).max(axis=(0, 2))
    assert np.flatnonzero(difference).tolist() == [*range(10, 17)]


def test_a_window_as_wide_as_the_positions_needs_no_mask(tmp_path: Path) -> None:
    for window, masks in ((512, 0), (511, 1)):  # one for all layers
        model = tiny_decoder_of("phi3", sliding_window=window)
        graph = onnx.load(write_tiny_graph(model, tmp_path), load_external_data=False).graph
        operators = [node.op_type for node in graph.node]
        assert [operators.count(name) for name in ("Greater", "Sub")] == [masks] * 2
