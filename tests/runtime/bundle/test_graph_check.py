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
    check_graph(tmp_path / "a.onnx")


def test_damaged_graphs_are_refused_or_pass(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    """Whatever bytes change, nothing but a `BundleError` comes out."""
    content = (tiny_bundle_folder / "projector.onnx").read_bytes()
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
