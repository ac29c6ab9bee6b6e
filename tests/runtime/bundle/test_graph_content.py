"""Reading what a graph holds without onnx, against onnx itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_data import DECODERS

from c2t.runtime.bundle.graph_content import read_content
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.system.errors import BundleError

onnx = pytest.importorskip("onnx")


def graphs(folder: Path) -> list[Path]:
    return [*(folder / name for name in GRAPHS), DECODERS["sure"] / "decoder.onnx"]


def test_nodes_and_weights_are_those_that_onnx_reads(tiny_bundle_folder: Path) -> None:
    for path in graphs(tiny_bundle_folder):
        found, model = read_content(path), onnx.load(path)
        assert found.opsets == {o.domain: o.version for o in model.opset_import}
        assert found.functions == 0
        for ours, theirs in zip(found.nodes, model.graph.node, strict=True):
            assert (ours.operator, ours.name, ours.domain) == (
                theirs.op_type,
                theirs.name,
                theirs.domain,
            )
            assert (list(ours.inputs), list(ours.outputs)) == (theirs.input, theirs.output)
            assert ours.attributes == {
                a.name: onnx.helper.get_attribute_value(a) for a in theirs.attribute
            }
        assert list(found.values) == [t.name for t in model.graph.initializer]
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            np.testing.assert_array_equal(found.values[tensor.name], values)
            assert found.values[tensor.name].dtype == values.dtype
        assert list(found.ends.inputs) == [value.name for value in model.graph.input]
        assert list(found.ends.outputs) == [value.name for value in model.graph.output]


def test_every_kind_of_attribute(tmp_path: Path) -> None:
    numbers = {"f": 0.5, "i": -3, "s": b"text", "floats": [1.5, 2.5], "ints": [3, -4]}
    tensor = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "t")
    node = onnx.helper.make_node("Op", ["x"], ["y"], "n", domain="d", **numbers, t=tensor)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], []))
    model.functions.add(name="f", domain="d")
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    found = read_content(path)
    (read,) = found.nodes
    assert read.attributes == numbers | {"t": None}  # of another kind
    assert (read.domain, found.functions) == ("d", 1)


@pytest.mark.parametrize("stop", [1, 50, -1])
def test_a_graph_that_ends_early_is_an_error(tmp_path: Path, stop: int) -> None:
    path = tmp_path / "decoder.onnx"
    path.write_bytes((DECODERS["sure"] / "decoder.onnx").read_bytes()[:stop])
    with pytest.raises(BundleError, match=r"decoder\.onnx"):
        read_content(path)


def test_a_weight_outside_the_data_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "decoder.onnx"
    source = DECODERS["sure"] / "decoder.onnx"
    path.write_bytes(source.read_bytes())
    data = source.with_name("decoder.onnx.data").read_bytes()
    path.with_name("decoder.onnx.data").write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match=r"in the data file ends at byte [\d,]+, past the file"):
        read_content(path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda t: t.external_data[0].__setattr__("value", "/etc/passwd"), "lie in '/etc/passwd'"),
        (lambda t: t.__setattr__("data_type", onnx.TensorProto.STRING), "is of the type 8"),
    ],
)
def test_a_weight_that_is_not_read_is_an_error(tmp_path: Path, spoil, problem: str) -> None:
    model = onnx.load(DECODERS["sure"] / "decoder.onnx", load_external_data=False)
    spoil(next(t for t in model.graph.initializer if t.external_data))
    path = tmp_path / "decoder.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=problem):
        read_content(path)
