"""The float32 variant: attention and caches in half precision, all else as it was, no copies."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from tiny_models import tiny_geneformer, tiny_llama
from tolerance import FLOAT16, worst_difference

from c2t.export.decoders.llama import write_decoder_graph
from c2t.export.encoders.geneformer import write_encoder_graph
from c2t.runtime.graphs.half_attention import write_half_attention


def test_encoder_is_closer_than_in_half_precision(tmp_path):
    single, variant = tmp_path / "encoder.onnx", tmp_path / "variant" / "encoder.onnx"
    variant.parent.mkdir()
    write_encoder_graph(tiny_geneformer(), single, rows=5)
    write_half_attention(single, variant, model=onnx.load(single, load_external_data=False))
    data = [path.with_name("encoder.onnx.data") for path in (single, variant)]
    assert data[0].samefile(data[1])
    embeddings = np.random.default_rng(0).standard_normal((2, 17, 16)).astype(np.float32)
    expected, found = (
        onnxruntime.InferenceSession(path).run(None, {"embeddings": embeddings})[0]
        for path in (single, variant)
    )
    assert found.dtype == np.float32
    assert 0 < worst_difference(found, expected) < FLOAT16


def test_only_caches_of_the_decoder_are_half(tmp_path):
    single, variant = tmp_path / "decoder.onnx", tmp_path / "variant" / "decoder.onnx"
    variant.parent.mkdir()
    write_decoder_graph(tiny_llama(), single)
    model = onnx.load(single, load_external_data=False)
    before = [tensor.SerializeToString() for tensor in model.graph.initializer]
    write_half_attention(single, variant, cache_capacity=40, model=model)
    graph = onnx.load(variant, load_external_data=False).graph
    assert [tensor.SerializeToString() for tensor in graph.initializer] == before
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        if value.name.startswith(("past_", "present_")):
            assert kind.elem_type == TensorProto.FLOAT16
            assert kind.shape.dim[2].dim_value == 40
        else:
            assert kind.elem_type in (TensorProto.FLOAT, TensorProto.INT64)
