"""Graphs of every family are known as a whole, or refused by the name of what is different."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graph_changes import changed, constant, insert_after, node
from tiny_decoders import tiny_decoder_of, write_tiny_graph

from c2t.export.decoders.families import FAMILIES
from c2t.runtime.engines.known_decoder.recognise import UnknownDecoderError, recognise_decoder

# Choices that a config of a family leaves, beside the usual ones.
CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    *((family, {}) for family in FAMILIES),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("mistral", {"sliding_window": None}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}),
    ("qwen3", {"attention_bias": True}),
    ("gpt_neox", {"use_parallel_residual": False, "hidden_act": "gelu_new"}),
    ("gpt_neox", {"attention_bias": False, "rotary_pct": 1.0}),
    ("gemma2", {"head_dim": 256}),
    ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("phi3", {"partial_rotary_factor": 0.5}),
)


@pytest.mark.parametrize(("family", "changes"), CHOICES)
def test_every_choice_of_a_family_is_known(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    model = tiny_decoder_of(family, **changes)
    known = recognise_decoder(write_tiny_graph(model, tmp_path))
    host, config = known.host(), model.config
    layers = list(host.layers)
    assert known.sizes.layers == len(layers) == config.num_hidden_layers
    assert (host.norm_bias is not None) == (family == "gpt_neox")
    assert host.parallel == (family == "gpt_neox" and config.use_parallel_residual)
    assert host.gated == (family != "gpt_neox")
    gelu = {"gelu": "gelu", "gelu_new": "gelu_tanh"}
    assert host.activation == (
        "gelu_tanh" if family == "gemma2" else gelu.get(config.hidden_act, "silu")
    )
    caps = [getattr(config, f"{part}_logit_softcapping", None) for part in ("attn", "final")]
    assert [host.attention_cap, host.logit_cap] == [cap or 0 for cap in caps]
    scale = config.hidden_size**0.5 if family == "gemma2" else 1
    assert host.embedding_scale == np.float32(scale)
    windows = [layer.window for layer in layers]
    expected = {"gemma2": [24, 0, 24], "mistral": [24] * 3, "phi3": [24] * 3}.get(family, [0] * 3)
    if changes.get("use_sliding_window"):
        expected = [0, 20, 20]
    assert windows == ([0] * 3 if changes.get("sliding_window", 24) is None else expected)
    for layer in layers:
        assert (layer.q_norm is not None) == (layer.k_norm is not None) == (family == "qwen3")
        behind = (layer.after_attention, layer.after_mlp)
        assert [norm is not None for norm in behind] == [family == "gemma2"] * 2
        asked = changes.get("attention_bias", family in ("qwen2", "gpt_neox"))
        assert (layer.biases.qkv is not None) == asked
        assert (layer.biases.down is not None) == ("mlp_bias" in changes or family == "gpt_neox")


def pass_a_bias_by(graph: Any) -> None:
    node(graph, "layers.1.attention.heads").input[0] = "layers.1.attention.qkv"


def centre_no_more(graph: Any) -> None:
    norm = node(graph, "layers.1.mlp.norm")
    norm.op_type = "RMSNormalization"
    del norm.input[2]


def forget_a_norm(graph: Any) -> None:
    graph.node.remove(node(graph, "layers.1.mlp.after"))
    node(graph, "layers.1.mlp.residual").input[1] = "layers.1.mlp.down"


def normalise_keys_alone(graph: Any) -> None:
    graph.node.remove(node(graph, "layers.0.attention.q.norm"))
    node(graph, "layers.0.attention.q.rotary").input[0] = "layers.0.attention.q.by_head"


def one_behind_the_other(graph: Any) -> None:
    node(graph, "layers.2.mlp.norm").input[0] = "layers.2.attention.residual"


def look_further(graph: Any) -> None:
    constant(graph, "window.24.size", np.array(25))


def see_what_others_hide(graph: Any) -> None:
    node(graph, "window.24").op_type = "Less"


def another_mask(graph: Any) -> None:
    node(graph, "layers.0.attention").input[3] = "window.positions"


def swap_the_masks(graph: Any) -> None:
    node(graph, "window.24.hidden").input[0] = "window.rows"


def cap_by_another_number(graph: Any) -> None:
    number(graph, "output.cap.inverse", 0.5)


def scale_by_nothing(graph: Any) -> None:
    number(graph, "embedding.scale", 0)


def scale_keys(graph: Any) -> None:
    insert_after(graph, "layers.0.attention.k.norm", "Mul", "norm.weight")


def number(graph: Any, name: str, value: float) -> None:
    tensor = next(t for t in graph.initializer if t.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(value, np.float32), name))


@pytest.mark.parametrize(
    ("family", "spoil", "problem"),
    [
        ("qwen2", pass_a_bias_by, r"has layers\.1\.attention\.heads \(Split\), which reads"),
        ("gpt_neox", centre_no_more, r"has layers\.1\.mlp\.norm \(RMSNormalization\), which"),
        ("gpt_neox", one_behind_the_other, r"has layers\.2\.mlp\.norm .*, which reads"),
        ("gpt_neox", changed("layers.1.mlp.gelu", approximate="tanh"), r"approximate is b'tanh'"),
        (
            "gpt_neox",
            changed("layers.1.attention.q.rotary", rotary_embedding_dim=8),
            "whose rotary_embedding_dim is 8, not 4",
        ),
        ("gemma2", forget_a_norm, r"has no layers\.1\.mlp\.after \(RMSNormalization\)"),
        ("gemma2", changed("layers.1.attention", softcap=9.0), r"softcap is 9\.0, not 5\.0"),
        ("gemma2", cap_by_another_number, "caps its logits at 8, divided by 0.5"),
        ("gemma2", scale_by_nothing, "multiplies its embeddings by 0"),
        ("gemma2", look_further, r"has window\.24\.size = 25, not 24"),
        ("mistral", see_what_others_hide, r"has window\.24 \(Less\), which the step kernel"),
        ("mistral", another_mask, r"has layers\.0\.attention .*, which reads .*window\.positions"),
        ("phi3", swap_the_masks, r"has window\.24\.hidden \(Sub\), which reads window\.rows"),
        ("qwen3", normalise_keys_alone, r"has layers\.0\.attention\.k\.norm .*, which the step"),
        ("qwen3", scale_keys, r"has layers\.0\.attention\.k\.norm\.added \(Mul\), which the step"),
    ],
)
def test_what_is_different_is_refused_by_name(
    tmp_path: Path, family: str, spoil: Callable[[Any], None], problem: str
) -> None:
    path = write_tiny_graph(tiny_decoder_of(family), tmp_path)
    model = onnx.load(path, load_external_data=False)
    spoil(model.graph)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnknownDecoderError, match=f"the decoder .*{problem}"):
        recognise_decoder(path)
