"""Graphs that run piece by piece: the same numbers, and one piece's weights at a time."""

from __future__ import annotations

import gc
import itertools
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import BUNDLES, DATA, DECODERS, SENTENCES

from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.bundle.graph_content import read_content
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu import piecewise
from c2t.runtime.engines.cpu.graph_pieces import Piece, cut_graph
from c2t.runtime.engines.cpu.piecewise import Later, run_in_pieces
from c2t.runtime.engines.cpu.row_blocks import row_blocks
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.system.errors import BundleError, EngineError

OPTIONS = EngineOptions(threads=2, prepack=False)
TOKENS = 9
GRAPHS = {
    "decoder, float32": DECODERS["sure"] / "decoder.onnx",
    "decoder, int8": DATA / "format_1" / "int8" / "decoder.onnx",
    "decoder of sentences": SENTENCES / "decoder.onnx",
    "encoder, float32": BUNDLES["mlp"] / "encoder.onnx",
    "encoder, int8": DATA / "format_1" / "int8" / "encoder.onnx",
}
PRODUCT = "output"  # of a decoder's last linear
of_decoders = pytest.mark.parametrize(
    "path", [path for path in GRAPHS.values() if path.name == "decoder.onnx"], ids=str
)


def results_of(path: Path) -> list[str]:
    """What each layer gives, and the graph."""
    layers = sum(node.operator == "Attention" for node in read_content(path).nodes)
    part, last = ("norm", "hidden") if path.name == "encoder.onnx" else ("residual", "logits")
    return [*(f"layers.{layer}.mlp.{part}" for layer in range(layers)), last]


def inputs_of(path: Path) -> dict[str, Any]:
    """Random inputs of a graph."""
    draw = np.random.default_rng(0)
    known = {
        "position_ids": np.arange(TOKENS)[None],
        "logit_rows": np.arange(TOKENS)[None],
        "write_index": np.zeros(1, np.int64),
        "kv_length": np.full(1, TOKENS),
    }
    values = dict[str, Any]()
    for name, (_, shape) in check_graph(path).inputs.items():
        sizes = [1 if place == 0 else size or TOKENS for place, size in enumerate(shape)]
        values[name] = known.get(name, draw.standard_normal(sizes, np.float32))
        if name.startswith("past_"):
            values[name] *= 0
    return values


@pytest.mark.parametrize("path", GRAPHS.values(), ids=list(GRAPHS))
@pytest.mark.parametrize("weight_bytes", [0, 10_000, 1 << 30])
def test_pieces_give_what_the_whole_graph_gives(
    path: Path, weight_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, inputs = results_of(path), inputs_of(path)
    monkeypatch.setattr(piecewise, "PIECE_BYTES", weight_bytes)
    found = run_in_pieces(path, results, inputs, OPTIONS)[results[-1]]
    (expected,) = open_session(path, OPTIONS).run(results[-1:], inputs)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("path", GRAPHS.values(), ids=list(GRAPHS))
def test_a_piece_reads_its_own_layer_and_what_the_one_before_gave(path: Path) -> None:
    model, results = path.read_bytes(), results_of(path)
    pieces = cut_graph(model, results, weight_bytes=0)
    assert [piece.output for piece in pieces] == results
    graph_inputs = check_graph(path).inputs
    for before, piece in itertools.pairwise(pieces):
        assert before.output in piece.inputs
        assert set(piece.inputs) <= {before.output, *graph_inputs}
        assert "inputs_embeds" not in piece.inputs
    whole = cut_graph(model, results, weight_bytes=1 << 40)
    assert [piece.output for piece in whole] == results[-1:]
    assert set(whole[0].inputs) == set(graph_inputs)
    # No weight is left out, and none of a layer is in two pieces.
    weights = read_content(path).values.items()
    shared = sum(value.nbytes for name, value in weights if not name.startswith("layers."))
    together = sum(piece.weight_bytes for piece in pieces)
    assert whole[0].weight_bytes <= together
    assert together - whole[0].weight_bytes <= shared * (len(pieces) - 1)


def test_layers_share_a_piece_up_to_a_size() -> None:
    path = GRAPHS["decoder, float32"]
    model, results = path.read_bytes(), results_of(path)
    single = cut_graph(model, results, weight_bytes=0)
    limit = single[0].weight_bytes + single[1].weight_bytes
    pieces = cut_graph(model, results, weight_bytes=limit)
    assert pieces[0].output == results[1]
    assert all(piece.weight_bytes <= limit for piece in pieces[:1])


def test_a_session_goes_before_the_next_piece_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[weakref.ref[Any]]()
    path = GRAPHS["decoder, float32"]

    def watched(*arguments: Any, **options: Any) -> Any:
        assert [session for session in opened if session() is not None] == []
        session = open_session(*arguments, **options)
        opened.append(weakref.ref(session))
        return session

    monkeypatch.setattr(piecewise, "PIECE_BYTES", 0)
    monkeypatch.setattr(piecewise, "open_session", watched)
    gc.disable()
    try:
        run_in_pieces(path, results_of(path), inputs_of(path), OPTIONS)
    finally:
        gc.enable()
    assert len(opened) == len(results_of(path))


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        (["layers.0.mlp.residual", "nothing"], "cannot be cut into pieces: 'nothing'"),
        (["logits", "layers.7.mlp.residual"], r"'layers\.7\.mlp\.residual'"),
    ],
)
def test_a_value_that_a_graph_lacks_is_an_error(results: Sequence[str], problem: str) -> None:
    path = GRAPHS["decoder, float32"]
    with pytest.raises(BundleError, match=problem):
        run_in_pieces(path, results, inputs_of(path), OPTIONS)


def test_an_input_that_nobody_gives_is_an_error_of_the_bundle() -> None:
    """Such as a weight that a graph lists as an input, too."""
    path = GRAPHS["decoder, float32"]
    inputs = inputs_of(path)
    del inputs["write_index"]
    problem = r"decoder\.onnx has an input that nobody gives: 'write_index'"
    with pytest.raises(BundleError, match=problem):
        run_in_pieces(path, results_of(path), inputs, OPTIONS)


def test_a_piece_that_cannot_run_is_an_error_of_the_engine() -> None:
    path = GRAPHS["decoder, float32"]
    inputs = inputs_of(path) | {"kv_length": np.zeros(3, np.int64)}
    with pytest.raises(EngineError, match=r"cannot run decoder\.onnx up to logits"):
        run_in_pieces(path, results_of(path), inputs, OPTIONS)


def test_pieces_say_what_they_are() -> None:
    (piece,) = cut_graph(GRAPHS["encoder, int8"].read_bytes(), ["hidden"], weight_bytes=0)
    assert isinstance(piece, Piece)
    assert (piece.inputs, piece.output) == (("embeddings",), "hidden")


def product_of(path: Path) -> Piece:
    """The piece of the output layer."""
    results = [*results_of(path)[:-1], PRODUCT]
    return cut_graph(path.read_bytes(), results, weight_bytes=0)[-1]


@of_decoders
def test_blocks_have_all_rows_of_the_weight_once(path: Path, tmp_path: Path) -> None:
    piece = product_of(path)
    whole = read_content(path).values["output.weight"]
    step = len(whole) // 3
    blocks = row_blocks(piece, block_bytes=step * whole[0].nbytes)
    assert len(blocks) == -(-len(whole) // step)
    shutil.copy(path.with_name("decoder.onnx.data"), tmp_path)
    found = dict[str, list[np.ndarray]]()
    for block in blocks:
        (tmp_path / "decoder.onnx").write_bytes(block.content)
        for name, value in read_content(tmp_path / "decoder.onnx").values.items():
            found.setdefault(name, []).append(np.array(value))
    for name, values in found.items():
        expected = read_content(path).values[name]
        if name.startswith("output.") and len(expected) == len(whole):
            np.testing.assert_array_equal(np.concatenate(values), expected)
        else:
            assert all(np.array_equal(value, expected) for value in values)
    assert all(block.inputs == piece.inputs for block in blocks)
    assert max(block.weight_bytes for block in blocks) < piece.weight_bytes


@of_decoders
def test_a_small_weight_is_not_cut(path: Path) -> None:
    piece = product_of(path)
    assert row_blocks(piece, block_bytes=1 << 30) == [piece]


def test_a_result_without_a_weight_is_an_error() -> None:
    path = GRAPHS["decoder, float32"]
    piece = replace(product_of(path), output="other")
    with pytest.raises(ValueError, match="other has no weight"):
        row_blocks(piece, block_bytes=1)


def fewer(inputs: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The first tokens of a decoder's inputs."""
    cut = {
        name: value[:, :tokens]
        for name, value in inputs.items()
        if name in ("inputs_embeds", "position_ids", "logit_rows")
    }
    return inputs | cut | {"kv_length": np.full(1, tokens)}


@of_decoders
@pytest.mark.parametrize("block_rows", [1, 40])
def test_few_tokens_in_blocks_give_what_the_whole_graph_gives(
    path: Path, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, inputs = results_of(path), inputs_of(path)
    row = read_content(path).values["output.weight"][0].nbytes
    monkeypatch.setattr(piecewise, "PIECE_BYTES", 0)
    monkeypatch.setattr(piecewise, "BLOCK_BYTES", block_rows * row)
    later = Later(inputs=fewer(inputs, 4), tokens=4)
    found = run_in_pieces(path, results, inputs, OPTIONS, later=later, product=PRODUCT)
    assert list(found) == results
    assert found[results[0]].shape[1] == TOKENS
    (expected,) = open_session(path, OPTIONS).run(results[-1:], inputs)
    assert found["logits"].shape == expected[:, :4].shape
    difference = np.abs(found["logits"] - expected[:, :4]).max()
    assert difference <= 1e-4 * np.abs(expected).max()
