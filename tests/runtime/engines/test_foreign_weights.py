"""A graph of a stranger cannot have files outside its folder read as weights: see SECURITY.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from c2t.runtime.engines.onnxruntime_library import load_onnxruntime

onnx = pytest.importorskip("onnx")
VALUES = np.arange(4, dtype=np.float32)


def write_graph(path: Path, location: str) -> None:
    """Write y = x + w, with w [4] said to lie in another file."""
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [4]) for n in "xy")
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "add", [x], [y], [weight])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with weights of its own, beside weights that are not its business."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    VALUES.tofile(folder / "own.data")
    VALUES.tofile(tmp_path / "outside.data")
    (folder / "link.data").symlink_to(tmp_path / "outside.data")
    return folder


def test_weights_in_the_folder_are_read(bundle: Path) -> None:
    write_graph(bundle / "graph.onnx", "own.data")
    session = load_onnxruntime().InferenceSession(
        str(bundle / "graph.onnx"), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(y, VALUES)


@pytest.mark.parametrize("location", ["../outside.data", "{folder}/outside.data", "link.data"])
def test_weights_outside_the_folder_are_refused(bundle: Path, location: str) -> None:
    write_graph(bundle / "graph.onnx", location.format(folder=bundle.parent))
    with pytest.raises(Exception, match="External data path"):  # its classes have no public base
        load_onnxruntime().InferenceSession(
            str(bundle / "graph.onnx"), providers=["CPUExecutionProvider"]
        )
