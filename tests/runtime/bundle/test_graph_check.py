"""Graphs that c2t would not write are refused before a library opens them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.system.errors import BundleError

onnx = pytest.importorskip("onnx")


def small_graph(*nodes: onnx.NodeProto, weights: list[onnx.TensorProto] | None = None):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph(
        nodes or [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "graph",
        [value],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
        initializer=weights or [],
    )
    return onnx.helper.make_model(graph)


def external(location: str) -> onnx.TensorProto:
    tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=8)
    tensor.ClearField("raw_data")
    return tensor


def node(kind: str, **attributes: object) -> onnx.NodeProto:
    return onnx.helper.make_node(kind, ["x"], ["y"], **attributes)


def test_graphs_of_a_bundle_pass(tiny_bundle_folder: Path) -> None:
    for name in GRAPHS:
        check_graph(tiny_bundle_folder / name)


CASES: list[tuple[Callable[[], onnx.ModelProto], str]] = [
    (lambda: small_graph(node("Loop", body=small_graph().graph)), "graph within its graph"),
    (lambda: small_graph(node("Sin")), "the operator 'ai.onnx.Sin'"),
    (lambda: small_graph(node("Add", domain="somebody")), "the operator 'somebody.Add'"),
    (lambda: small_graph(weights=[external("/etc/passwd")]), "weights in '/etc/passwd'"),
    (lambda: small_graph(weights=[external("../a.onnx.data")]), r"weights in '\.\./a\.onnx\.data'"),
    (lambda: small_graph(weights=[external("other.data")]), "weights in 'other.data'"),
    (lambda: small_graph(node("Identity", value=external("x.data"))), "weights in 'x.data'"),
    (lambda: onnx.ModelProto(), "holds 0 graphs"),
]


@pytest.mark.parametrize(("make", "problem"), CASES)
def test_what_c2t_does_not_write_is_refused(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], problem: str
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(BundleError, match=problem):
        check_graph(path)


def test_functions_are_refused(tmp_path: Path) -> None:
    model = small_graph()
    model.functions.add(name="f", domain="d")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="functions of its own"):
        check_graph(tmp_path / "a.onnx")


def test_the_graphs_own_data_file_is_fine(tmp_path: Path) -> None:
    model = small_graph(weights=[external("a.onnx.data")])
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "a.onnx.data").write_bytes(bytes(8))
    check_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"offset": "4"}, r"weights up to byte 12 of a\.onnx\.data, of 8"),
        ({"offset": "-1"}, "weights whose offset is '-1'"),
        ({"offset": "1e3"}, "weights whose offset is '1e3'"),
        ({"offset": "9" * 30}, "weights whose offset is '9999"),
        ({"length": "4"}, "a weight of 8 bytes, said to be 4"),
        ({"checksum": "x"}, "says 'checksum' of the place of a weight"),
        ({"location": ""}, "weights in ''"),
        ({"dims": [1 << 32, 1 << 32]}, "said to be 8"),
        ({"dims": [-1, 4]}, r"a weight of the shape \[-1, 4\]"),
        ({"data_type": onnx.TensorProto.STRING}, "a weight of the type 8"),
        ({"data_type": 99}, "a weight of the type 99"),
        ({"external_data": []}, "weights in ''"),
    ],
)
def test_weights_that_do_not_lie_as_they_should_are_refused(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    weight = external("a.onnx.data")
    for name, value in change.items():
        if isinstance(value, list):
            weight.ClearField(name)
            getattr(weight, name).extend(value)
        elif isinstance(value, int):
            setattr(weight, name, value)
        else:
            places = {entry.key: entry for entry in weight.external_data}
            place = places.get(name) or weight.external_data.add(key=name)
            place.value = value
    (tmp_path / "a.onnx.data").write_bytes(bytes(8))
    (tmp_path / "a.onnx").write_bytes(small_graph(weights=[weight]).SerializeToString())
    with pytest.raises(BundleError, match=problem):
        check_graph(tmp_path / "a.onnx")


def test_a_weight_in_the_graph_has_as_many_bytes_as_its_shape_says(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.zeros(6, np.float32), "w")
    weight.dims[:] = [4, 6]
    (tmp_path / "a.onnx").write_bytes(small_graph(weights=[weight]).SerializeToString())
    with pytest.raises(BundleError, match="a weight of 96 bytes, of which 24 are there"):
        check_graph(tmp_path / "a.onnx")


def test_a_graph_without_nodes_and_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    model = small_graph()
    del model.graph.node[:]
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="computes nothing"):
        check_graph(tmp_path / "a.onnx")
    content = small_graph(onnx.helper.make_node("Identity", ["x"], ["y"], name="name"))
    damaged = content.SerializeToString().replace(b"name", b"n\xffme")
    (tmp_path / "a.onnx").write_bytes(damaged)
    with pytest.raises(BundleError, match="is not an ONNX graph"):
        check_graph(tmp_path / "a.onnx")


def test_damaged_graphs_are_refused_or_pass(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    """Whatever bytes change, nothing but a `BundleError` comes out."""
    content = (tiny_bundle_folder / "projector.onnx").read_bytes()
    data = "projector.onnx.data"
    (tmp_path / data).write_bytes((tiny_bundle_folder / data).read_bytes())
    draw = np.random.default_rng(0)
    path, refused = tmp_path / "projector.onnx", 0
    for case in range(2000):
        damaged = bytearray(content)
        for place in draw.integers(0, len(content), 1 + case % 4):
            damaged[place] = draw.integers(0, 256)
        path.write_bytes(damaged[: len(content) - case % 7 * 3])
        try:
            check_graph(path)
        except BundleError:
            refused += 1
    assert 200 < refused < 2000
