import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from c2t.calibration.quantise.block_weights import block_dequantise, block_linear, block_quantise
from c2t.calibration.ranges.linears import Linear


def test_codes_by_hand():
    row = np.zeros((1, 40), np.float32)
    row[0, :3], row[0, 32:34] = [7, -7, 3.4], [-0.7, 0.1]
    codes, scales = block_quantise(row, bits=4)
    assert scales.tolist() == [[1.0, pytest.approx(0.1)]]
    assert codes.shape == (1, 2, 16)
    assert codes[0, 0, :2].tolist() == [15 | 1 << 4, 11 | 8 << 4]  # 8 is zero
    assert codes[0, 1, :1].tolist() == [1 | 9 << 4]


@pytest.mark.parametrize(("bits", "worst"), [(8, 1 / 254), (4, 1 / 14)])
def test_onnxruntime_reads_the_codes_as_meant(bits, worst):
    generator = np.random.default_rng(bits)
    rows = generator.standard_normal((24, 72)).astype(np.float32)  # K no multiple of the block
    linear = Linear(
        name="p", input="x", output="y", weight="w", inputs=72, outputs=24, by_output=False
    )
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="p")
    arrays, new = block_linear(linear, rows, node, bits=bits)
    graph = helper.make_graph(
        [new],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 72])],
        [helper.make_tensor_value_info("y", 1, ["n", 24])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = generator.standard_normal((5, 72)).astype(np.float32)
    left = block_dequantise(*block_quantise(rows, bits=bits), inputs=72, bits=bits)
    assert session.run(None, {"x": x})[0] == pytest.approx(x @ left.T, abs=1e-4)
    assert np.abs(left - rows).max() <= worst * np.abs(rows).max() * 1.01
