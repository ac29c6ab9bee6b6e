"""Q/DQ on exactly these nodes, the same numbers as before, and integer kernels for all of them."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import pytest
from tiny_bundle import make_bundle
from tiny_models import TinySizes, tiny_cell

from c2t.calibration.quantise.calibration_plan import make_plan
from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.quantise.integer_kernels import profile_kernels
from c2t.calibration.quantise.quantised_bundle import complete_manifest, write_quantised_bundle
from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.quantise.smoothing import find_fold
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.linears import StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell, decoder_inputs, encoder_inputs
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.generation.bundle_prompts import bundle_prompts

SIZES = {
    "mlp": TinySizes(),
    "perceiver": TinySizes(projector="perceiver", tied=False),
    "qformer": TinySizes(projector="qformer"),
}
DECODER_LINEARS = ("attention.qkv", "attention.output", "mlp.gate_up", "mlp.down")


@pytest.fixture(scope="module", params=SIZES)
def made(request, tmp_path_factory):
    """A float32 bundle and its calibration."""
    sizes = SIZES[request.param]
    bundle = make_bundle(tmp_path_factory.mktemp(request.param), sizes).bundle
    cells = [
        CalibrationCell(gene_tokens=tiny_cell(length).numpy().astype(np.int32), text_tokens=text)
        for length, text in ((12, (9, 8, 7)), (20, (5, 6)), (30, tuple(range(10, 26))))
    ]
    plan = make_plan(
        TappedSystem(bundle, threads=1), cells, estimator=Estimator.mse, smooth=True, seed=0
    )
    return bundle, plan, cells


def inputs_of(bundle, cell) -> dict[str, dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    hidden = generator.standard_normal((1, 8, bundle.manifest.gene_input.hidden_size))
    vectors = generator.standard_normal((8, bundle.manifest.decoder.hidden_size))
    return {
        "encoder.onnx": encoder_inputs(bundle, cell.gene_tokens),
        "projector.onnx": {"hidden": hidden.astype(np.float32)},
        "decoder.onnx": decoder_inputs(
            bundle,
            bundle_prompts(bundle).of_vectors(vectors.astype(np.float32)),
            cell.text_tokens,
        ),
    }


def run(path, inputs) -> np.ndarray:
    """With the engine's own settings: without VNNI, ONNX Runtime's own saturate."""
    return open_session(path, EngineOptions()).run(None, inputs)[0]


def without(recipe, precision=Precision.fp32):
    return recipe.without(set(recipe.linears), precision)


def test_linears_of_the_decoder(made):
    _, plan, _ = made
    names = [f"layers.{i}.{end}" for i in range(2) for end in DECODER_LINEARS]
    assert list(plan.recipes["decoder.onnx"].linears) == [*names, "output"]


def test_each_linear_has_a_pair_of_its_own(made, tmp_path):
    bundle, plan, _ = made
    for name in GRAPHS:
        recipe = plan.recipes[name]
        write_quantised(StoredGraph(bundle.file(name)), tmp_path / name, recipe)
        graph = onnx.load(tmp_path / name).graph
        onnx.checker.check_model(str(tmp_path / name))
        counts = collections.Counter(node.op_type for node in graph.node)
        assert counts["QuantizeLinear"] == len(recipe.linears)
        assert counts["DequantizeLinear"] == 2 * len(recipe.linears)
        readers = collections.Counter(value for node in graph.node for value in node.input)
        nodes = {node.name: node for node in graph.node}
        for linear in recipe.linears:
            quantise = nodes[f"{linear}.input.quantize"]
            assert readers[quantise.output[0]] == 1
            assert list(nodes[linear].input[:2]) == [
                f"{linear}.input.dequantize",
                f"{linear}.weight.dequantize",
            ]
        values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        assert all(not v.any() for k, v in values.items() if k.endswith("zero_point"))
        for node in graph.node:  # attention's own linears stay in float32
            if node.op_type == "Attention":
                assert not any("dequantize" in value for value in node.input)


def test_every_linear_runs_on_integers(made, tmp_path):
    bundle, plan, cells = made
    for name, inputs in inputs_of(bundle, cells[0]).items():
        recipe = plan.recipes[name]
        write_quantised(StoredGraph(bundle.file(name)), tmp_path / name, recipe)
        found = profile_kernels(tmp_path / name, inputs, list(recipe.linears))
        assert set(found.kernels.values()) <= {"MatMulIntegerToFloat", "QGemm"}
        assert found.float32 == ()
        assert found.widened == 0


def test_folding_alone_changes_nothing(made, tmp_path):
    bundle, plan, cells = made
    smoothed = [r for r in plan.reports if r.strength > 0]
    assert smoothed
    for name, inputs in inputs_of(bundle, cells[0]).items():
        source = StoredGraph(bundle.file(name))
        write_quantised(source, tmp_path / name, without(plan.recipes[name]))
        assert len(onnx.load(tmp_path / name).graph.node) == len(source.graph.node)
        exact, found = run(bundle.file(name), inputs), run(tmp_path / name, inputs)
        assert found == pytest.approx(exact, abs=2e-5, rel=1e-4)


def test_quantised_graphs_stay_near(made, tmp_path):
    bundle, plan, cells = made
    for name, inputs in inputs_of(bundle, cells[0]).items():
        write_quantised(StoredGraph(bundle.file(name)), tmp_path / name, plan.recipes[name])
        exact, found = run(bundle.file(name), inputs), run(tmp_path / name, inputs)
        cosine = (exact * found).sum(-1) / np.linalg.norm(exact, axis=-1)
        assert (cosine / np.linalg.norm(found, axis=-1)).min() > 0.99
        assert (found != exact).any()


def test_integer_linears_do_not_overflow(tmp_path):
    """The largest codes of one sign: pairs of them exceed 16 bits, which AVX2 alone has."""
    weight = np.full((64, 8), 127, np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="p")],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 64])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 8])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opsets = [onnx.helper.make_opsetid("", 24)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=11)
    (tmp_path / "f.onnx").write_bytes(model.SerializeToString())
    recipe = GraphRecipe(linears={"p": LinearRecipe(precision=Precision.int8, scale=1.0)})
    write_quantised(StoredGraph(tmp_path / "f.onnx"), tmp_path / "q.onnx", recipe)
    session = open_session(tmp_path / "q.onnx", EngineOptions(threads=1))
    rows = np.array([[127.0], [-127.0], [1.0]], np.float32) * np.ones(64, np.float32)
    exact = rows @ weight
    assert session.run(None, {"x": rows})[0] == pytest.approx(exact, rel=1e-6)


def test_where_smoothing_can_go(made):
    bundle, _, _ = made
    decoder = StoredGraph(bundle.file("decoder.onnx"))
    folds = {p.name: find_fold(decoder, p) for p in decoder.linears()}
    assert folds["output"] is None  # its weight may also be the token table
    assert folds["layers.0.attention.qkv"].tensors == ("layers.0.attention.norm.weight",)
    down, values = folds["layers.1.mlp.down"], folds["layers.0.attention.output"]
    assert down.tensors == ("layers.1.mlp.gate_up.weight",)
    assert (down.columns, down.group) == (slice(40, 80), 1)
    assert values.columns == slice(36, 48)  # q 24, k 12, v 12
    assert (values.group, values.head_size) == (2, 6)
    encoder = StoredGraph(bundle.file("encoder.onnx"))
    folds = {p.name: find_fold(encoder, p) for p in encoder.linears()}
    assert folds["layers.0.mlp.up"] is None  # the norm before it feeds the residual too
    assert folds["layers.0.mlp.down"].tensors == (
        "layers.0.mlp.up.weight",
        "layers.0.mlp.up.bias",
    )


def test_quantised_bundle_has_small_tables(made, tmp_path):
    bundle, plan, _ = made
    folder = tmp_path / "int8"
    folder.mkdir()
    complete_manifest(write_quantised_bundle(bundle, folder, plan.recipes, precision="int8"))
    found = open_bundle(folder)
    assert found.manifest.precision == "int8"
    assert found.gene_embedding_tables.word.dtype == np.int8
    table, exact = found.token_embedding, np.asarray(bundle.token_embedding)
    ids = np.array([[3, 5], [0, 7]])
    assert table[ids].shape == (2, 2, 24)
    assert np.abs(table[ids] - exact[ids]).max() <= np.abs(exact).max() / 254 * 1.01
    tied = bundle.manifest.decoder.token_embedding
    scale = found.manifest.decoder.token_scale
    assert scale.shape == tied.shape[:1]
    weights = sum(found.file(f"{name}.data").stat().st_size for name in GRAPHS)
    before = sum(bundle.file(f"{name}.data").stat().st_size for name in GRAPHS)
    assert weights < before


@pytest.mark.parametrize("precision", [Precision.int8_weights, Precision.int4_weights])
def test_weight_only_graphs_stay_near(made, tmp_path, precision):
    bundle, plan, cells = made
    name = "decoder.onnx"
    recipe = without(plan.recipes[name], precision)
    table = bundle.manifest.decoder.token_embedding
    rows = write_quantised(StoredGraph(bundle.file(name)), tmp_path / name, recipe, table)
    assert rows.values.dtype == "int8"
    inputs = inputs_of(bundle, cells[0])[name]
    found = profile_kernels(tmp_path / name, inputs, list(recipe.linears))
    assert set(found.kernels.values()) == {"MatMulNBits"}
    exact, near = run(bundle.file(name), inputs), run(tmp_path / name, inputs)
    assert np.corrcoef(exact.ravel(), near.ravel())[0, 1] > 0.9
