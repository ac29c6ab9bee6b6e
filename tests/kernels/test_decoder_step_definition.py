"""The definition of a decoder step computes what the exported graph does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_data import tiny_decoder
from tolerance import FLOAT32, worst_difference

from c2t.kernels.decoder_step.definition import decoder_step_reference
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer

CAPACITY = 16


def exported(path: Path) -> HostDecoder:
    """A decoder graph's weights."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(path).graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    attributes = {
        (node.op_type, a.name): onnx.helper.get_attribute_value(a)
        for node in graph.node
        for a in node.attribute
    }
    (lm_head,) = (tensors[node.input[1]] for node in graph.node if node.op_type == "Gemm")
    layers = sum(name.endswith("attention.qkv.weight") for name in tensors)
    return HostDecoder(
        layers=[
            HostLayer(
                attention_norm=tensors[f"layers.{i}.attention.norm.weight"],
                qkv=tensors[f"layers.{i}.attention.qkv.weight"],
                o=tensors[f"layers.{i}.attention.output.weight"],
                mlp_norm=tensors[f"layers.{i}.mlp.norm.weight"],
                gate_up=tensors[f"layers.{i}.mlp.gate_up.weight"],
                down=tensors[f"layers.{i}.mlp.down.weight"],
            )
            for i in range(layers)
        ],
        norm=tensors["norm.weight"],
        lm_head=lm_head,
        cosines=tensors["rotary.cos"],
        sines=tensors["rotary.sin"],
        epsilon=attributes["RMSNormalization", "epsilon"],
        scale=attributes["Attention", "scale"],
    )


def test_agrees_with_the_exported_graph() -> None:
    tiny = tiny_decoder()
    engine, decoder = tiny.engine, exported(tiny.path)
    graph = engine.sizes
    sizes = StepSizes(
        layers=graph.layers,
        hidden_size=graph.hidden_size,
        intermediate_size=decoder.layers[0].down.shape[0],
        heads=graph.heads,
        kv_heads=graph.kv_heads,
        head_size=graph.head_size,
        vocabulary_size=graph.vocabulary_size,
    )
    embeds = np.random.default_rng(0).normal(size=(2, 9, sizes.hidden_size)).astype(np.float32)
    engine_cache = engine.new_cache(2, CAPACITY)
    cache = np.zeros((sizes.layers, 2, 2, sizes.kv_heads, CAPACITY, sizes.head_size), np.float32)
    for begin, end in ((0, 7), (7, 8), (8, 9)):
        tokens = end - begin
        positions = np.tile(np.arange(begin, end), (2, 1))
        step = engine.bind(engine_cache, (0, 2), tokens, tokens)
        step.token_ids[...] = -1
        step.inputs_embeds[...] = embeds[:, begin:end]
        step.position_ids[...] = positions
        step.write_index[...] = begin
        step.logit_rows[...] = np.arange(tokens)
        logits = decoder_step_reference(
            sizes,
            decoder,
            embeds[:, begin:end],
            cache,
            positions=positions,
            write_index=np.full(2, begin),
            logit_rows=positions - begin,
        )
        assert worst_difference(logits, step.run()) <= 10 * FLOAT32
