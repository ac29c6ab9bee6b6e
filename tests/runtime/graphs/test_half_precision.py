"""The half-precision variant: what is cast and what is not, and how far its numbers are off."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from tiny_models import tiny_geneformer, tiny_llama
from tolerance import FLOAT16, worst_difference

from c2t.export.decoders.llama import write_decoder_graph
from c2t.export.encoders.geneformer import write_encoder_graph
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.errors import BundleError


def test_float16_encoder_is_close_on_onnxruntime(tmp_path: Path) -> None:
    single, half = tmp_path / "encoder.onnx", tmp_path / "half.onnx"
    write_encoder_graph(tiny_geneformer(), single, rows=5)
    write_half_precision(single, half)
    onnx.checker.check_model(half, full_check=True)
    embeddings = np.random.default_rng(0).standard_normal((2, 17, 16)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(single).run(None, {"embeddings": embeddings})
    (hidden,) = onnxruntime.InferenceSession(half).run(
        None, {"embeddings": embeddings.astype(np.float16)}
    )
    assert hidden.dtype == np.float16
    assert 0 < worst_difference(hidden, expected) < FLOAT16


@pytest.mark.parametrize(
    ("dtype", "element"),
    [("float16", TensorProto.FLOAT16), ("bfloat16", TensorProto.BFLOAT16)],
)
def test_norms_and_logits_stay_float32(tmp_path: Path, dtype: str, element: int) -> None:
    single, half = tmp_path / "decoder.onnx", tmp_path / "half.onnx"
    write_decoder_graph(tiny_llama(), single)
    write_half_precision(single, half, dtype=dtype, cache_capacity=40)
    onnx.checker.check_model(half, full_check=True)
    graph = onnx.load(half).graph
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.INT64:
            norm = tensor.name.endswith("norm.weight")
            assert tensor.data_type == (TensorProto.FLOAT if norm else element), tensor.name
    kinds = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}
    assert kinds["logits"].elem_type == TensorProto.FLOAT
    assert kinds["inputs_embeds"].elem_type == element
    assert kinds["position_ids"].elem_type == TensorProto.INT64
    for name in ("past_key.1", "present_value.0"):
        assert kinds[name].elem_type == element
        assert kinds[name].shape.dim[2].dim_value == 40
    norms = [node for node in graph.node if node.op_type == "RMSNormalization"]
    assert all(node.input[0] == f"{node.name}.from_half" for node in norms)


def test_bfloat16_keeps_the_bits_of_torch(tmp_path: Path) -> None:
    model = tiny_llama()
    single, half = tmp_path / "decoder.onnx", tmp_path / "half.onnx"
    write_decoder_graph(model, single)
    write_half_precision(single, half, dtype="bfloat16")
    tensors = {tensor.name: tensor for tensor in onnx.load(half).graph.initializer}
    stored = np.frombuffer(tensors["output.weight"].raw_data, np.int16)
    expected = model.lm_head.weight.detach().bfloat16().view(torch.int16).numpy()
    np.testing.assert_array_equal(stored.reshape(expected.shape), expected)


def test_weight_beyond_float16_is_an_error(tmp_path: Path) -> None:
    model = tiny_geneformer()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[0, 0] = 1e6
    write_encoder_graph(model, tmp_path / "encoder.onnx")
    with pytest.raises(BundleError, match=r"layers\.0\.mlp\.down\.weight reaches 1e\+06"):
        write_half_precision(tmp_path / "encoder.onnx", tmp_path / "half.onnx")
    assert not list(tmp_path.glob("half*"))
    write_half_precision(tmp_path / "encoder.onnx", tmp_path / "half.onnx", dtype="bfloat16")
