"""The data file of a graph: its bytes, their places, and what is reported of the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.runtime.graphs.data_file import CACHE_LINE, PAGE, SMALL_BYTES

SHAPES = ((96, 48), (700, 64), (33, 31))  # below and above SMALL_BYTES


def weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def write(path: Path, reported: list[int] | None = None) -> None:
    advance = (lambda amount: None) if reported is None else reported.append
    with GraphBuilder(path, name="test", advance=advance) as graph:
        value = graph.input("value", ["B", 48])
        for index, weight in enumerate(weights()):
            graph.weight(f"weight.{index}", weight, transpose=index == 0)
        graph.node("MatMul", [value, "weight.0"], name="product", outputs=["result"])
        graph.output("result", ["B", 96])
        graph.save()


def tensors(path: Path) -> list[onnx.TensorProto]:
    return list(onnx.load(path, load_external_data=False).graph.initializer)


def test_the_same_weights_give_the_same_bytes_on_aligned_places(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "graph.onnx"
        write(path)
        contents.append([(path.parent / f"graph.onnx{end}").read_bytes() for end in ("", ".data")])
    assert contents[0] == contents[1]
    places = [{e.key: e.value for e in t.external_data} for t in tensors(path) if t.external_data]
    sizes = [int(place["length"]) for place in places]
    assert min(sizes) < SMALL_BYTES <= max(sizes)
    for place in places:
        align = PAGE if int(place["length"]) >= SMALL_BYTES else CACHE_LINE
        assert int(place["offset"]) % align == 0
    assert {place["location"] for place in places} == {"graph.onnx.data"}


def test_blocks_of_any_size_give_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, blocks = tmp_path / "whole.onnx", tmp_path / "blocks.onnx"
    write(whole)
    monkeypatch.setattr("c2t.export.graphs.graph_builder.BLOCK_BYTES", 200)
    write(blocks)
    data = [np.fromfile(path.with_name(path.name + ".data"), np.uint8) for path in (whole, blocks)]
    np.testing.assert_array_equal(*data)
    (first, *_) = onnx.load(blocks).graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(first), weights()[0].T.numpy())


def test_progress_adds_up_to_the_weights(tmp_path: Path) -> None:
    reported: list[int] = []
    write(tmp_path / "graph.onnx", reported)
    assert sum(reported) == 4 * sum(rows * columns for rows, columns in SHAPES)


def write_twice(path: Path) -> None:
    with GraphBuilder(path, name="test") as graph:
        graph.weight("weight", weights()[1])
        for _ in range(2):
            graph.node("Identity", ["weight"], name="twice")


def test_an_error_leaves_no_data_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two nodes"):
        write_twice(tmp_path / "graph.onnx")
    assert not list(tmp_path.iterdir())
