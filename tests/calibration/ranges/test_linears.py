"""A graph's stored weights are mapped from its data file only where they are numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from c2t.calibration.ranges.linears import StoredGraph
from c2t.runtime.system.errors import BundleError


def graph_with(folder, data_type):
    tensor = TensorProto(name="w", data_type=data_type, dims=[2, 2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "g.onnx.data", "offset": "0", "length": "32"}.items():
        tensor.external_data.add(key=key, value=value)
    values = np.arange(1, 9, dtype=np.float32)
    (folder / "g.onnx.data").write_bytes(values.tobytes())
    graph = helper.make_graph([], "g", [], [], initializer=[tensor])
    onnx.save(helper.make_model(graph), folder / "g.onnx")
    return StoredGraph(folder / "g.onnx")


def test_numbers_are_mapped(tmp_path):
    assert graph_with(tmp_path, TensorProto.FLOAT).array("w").tolist() == [[1, 2], [3, 4]]


def test_strings_are_refused(tmp_path):
    refused = r"g\.onnx: the tensor w in the data file holds no numbers"
    with pytest.raises(BundleError, match=refused):
        graph_with(tmp_path, TensorProto.STRING).array("w")
