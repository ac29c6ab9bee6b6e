"""Int8 weights as floats: the float32 graph again, its weights multiples of their scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import tiny_geneformer, tiny_llama
from tolerance import FLOAT16, worst_difference

from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.ranges.linears import StoredGraph
from c2t.export.decoders.llama import write_decoder_graph
from c2t.export.encoders.geneformer import write_encoder_graph
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.graphs.data_file import read_graph
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.graphs.widened_weights import WeightScale, take_weight_scales
from c2t.runtime.system.errors import BundleError

ACTIVATION_STEP = 0.05


def write_pair(name: str, folder: Path, *, every: int = 1) -> tuple[Path, Path]:
    """A float32 graph and, beside it, the same with every n-th linear in int8."""
    path, int8 = folder / "float32.onnx", folder / "int8.onnx"
    if name == "encoder":
        write_encoder_graph(tiny_geneformer(), path, rows=5)
    else:
        write_decoder_graph(tiny_llama(), path)
    source = StoredGraph(path)
    linears = {
        linear.name: LinearRecipe(precision=Precision.int8, scale=ACTIVATION_STEP)
        for number, linear in enumerate(source.linears())
        if number % every == 0
    }
    write_quantised(source, int8, GraphRecipe(linears=linears))
    return path, int8


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Initializers by name."""
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_nodes_are_those_of_the_float32_graph(tmp_path: Path, name: str, every: int) -> None:
    path, int8 = write_pair(name, tmp_path, every=every)
    model = read_graph(int8)
    scales = take_weight_scales(model, int8)
    assert len(scales) == -(-len(StoredGraph(path).linears()) // every)
    plain = read_graph(path).graph
    assert [n.SerializeToString() for n in model.graph.node] == [
        n.SerializeToString() for n in plain.node
    ]
    assert {t.name for t in model.graph.initializer} == {t.name for t in plain.initializer}


@pytest.mark.parametrize("every", [1, 2])
def test_weights_are_multiples_of_their_scales(tmp_path: Path, every: int) -> None:
    _, int8 = write_pair("decoder", tmp_path, every=every)
    half = tmp_path / "half.onnx"
    write_half_precision(int8, half, widen=True)
    onnx.checker.check_model(half, full_check=True)
    stored, written = arrays(int8), arrays(half)
    weights = [name for name, values in stored.items() if values.dtype == np.int8 and values.ndim]
    weights = [name for name in weights if name.endswith(".weight")]
    assert weights
    for name in weights:
        scale = stored[f"{name}.scale"]
        along = scale[:, None] if name == "output.weight" else scale
        expected = (stored[name].astype(np.float32) * along).astype(np.float16)
        np.testing.assert_array_equal(written[name], expected, name)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {
        node.op_type for node in onnx.load(half).graph.node
    }


def test_numbers_are_those_of_unquantised_activations(tmp_path: Path) -> None:
    """As near to float32 as the weights' own steps: those of the activations are not there."""
    path, int8 = write_pair("encoder", tmp_path)
    half = tmp_path / "half.onnx"
    write_half_precision(int8, half, widen=True)
    model = onnx.load(path)  # the float32 graph over the weights as int8 has them
    stored = arrays(int8)
    for tensor in model.graph.initializer:
        if stored.get(tensor.name, np.empty(0)).dtype == np.int8:
            wide = stored[tensor.name] * stored[f"{tensor.name}.scale"]
            tensor.CopyFrom(numpy_helper.from_array(wide.astype(np.float32), tensor.name))
    embeddings = np.random.default_rng(0).standard_normal((2, 17, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"embeddings": embeddings})
    (hidden,) = onnxruntime.InferenceSession(half).run(
        None, {"embeddings": embeddings.astype(np.float16)}
    )
    (quantised,) = onnxruntime.InferenceSession(int8).run(None, {"embeddings": embeddings})
    assert worst_difference(hidden, expected) < FLOAT16
    assert worst_difference(quantised, expected) > 2 * worst_difference(hidden, expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_with_zero_points(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from c2t.runtime.graphs import widened_weights

    monkeypatch.setattr(widened_weights, "BLOCK_BYTES", 4 * 5 * 2)  # two rows
    draw = np.random.default_rng(0)
    values = draw.integers(-128, 128, (7, 5)).astype(np.int8)
    count = values.shape[axis]
    scale = draw.random(count).astype(np.float32)
    zero = draw.integers(-9, 9, count).astype(np.int8)
    blocks = list(WeightScale(scale, zero, axis).blocks(values))
    assert [len(block) for block in blocks] == [2, 2, 2, 1]
    shape = (-1, 1) if axis == 0 else (1, -1)
    expected = (values.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    one = WeightScale(np.float32([0.5]), None, axis)
    np.testing.assert_array_equal(np.concatenate(list(one.blocks(values))), values * 0.5)


def test_other_quantisation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["x", "scale"], ["y"])],
        "g",
        [value("x", TensorProto.INT8, [4])],
        [value("y", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.float32(1), "scale")],
    )
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(BundleError, match="dequantises x, which is no int8 weight"):
        take_weight_scales(read_graph(path), path)
    graph.initializer.append(numpy_helper.from_array(np.zeros((4, 4), np.int8), "x"))
    graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((2, 4), np.float32), "scale"))
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(BundleError, match=r"has scales of x in the shape \[2, 4\]"):
        take_weight_scales(read_graph(path), path)
