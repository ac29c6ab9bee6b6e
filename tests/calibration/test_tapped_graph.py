"""Taps give what products are given; and a product that is spoilt is the most sensitive one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_bundle import make_bundle
from tiny_models import tiny_cell

from c2t.calibration.quantise.calibration_plan import make_plan
from c2t.calibration.quantise.choices import Estimator
from c2t.calibration.quantise.recipe import GraphRecipe
from c2t.calibration.quantise.sensitivity import measure_divergence, rank
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.products import StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell, decoder_inputs, encoder_inputs
from c2t.calibration.ranges.tapped_graph import TappedGraph
from c2t.runtime.bundle.manifest import GRAPHS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny")).bundle


def cell(length: int, *text: int) -> CalibrationCell:
    return CalibrationCell(
        gene_tokens=tiny_cell(length, seed=length).numpy().astype(np.int32), text_tokens=text
    )


def exact_inputs(bundle, name, inputs) -> dict[str, np.ndarray]:
    """The inputs of all products as plain outputs of the graph."""
    source = StoredGraph(bundle.file(name))
    model = onnx.load(bundle.file(name))
    values = sorted({p.input for p in source.products()})
    for value in values:
        model.graph.output.append(onnx.helper.make_tensor_value_info(value, 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip(values, session.run(values, inputs), strict=True))


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
def test_taps_reduce_what_products_are_given(bundle, name):
    one = cell(20, 9, 8, 7, 6)
    vectors = np.random.default_rng(0).standard_normal((8, 24)).astype(np.float32)
    inputs = (
        encoder_inputs(bundle, one.gene_tokens)
        if name == "encoder.onnx"
        else decoder_inputs(bundle, vectors, one.text_tokens)
    )
    exact = exact_inputs(bundle, name, inputs)
    source = StoredGraph(bundle.file(name))
    taps, _ = TappedGraph(source, threads=1).run(inputs, 1, 3)
    assert set(taps) == {p.name for p in source.products()}
    for product in source.products():
        rows = exact[product.input].reshape(-1, product.inputs)
        tap = taps[product.name]
        assert tap.largest == pytest.approx(np.abs(rows).max(axis=0), abs=1e-6)
        assert tap.rows == pytest.approx(rows[1::3], abs=1e-6)


def test_prefill_and_steps_are_one_run(bundle):
    """Logits are asked of the prompt's last row and of every token that was fed."""
    vectors = np.zeros((8, 24), np.float32)
    inputs = decoder_inputs(bundle, vectors, (9, 8, 7, 6))
    prompt = bundle.manifest.prompt
    length = len(prompt.prefix_ids) + 8 + len(prompt.suffix_ids)
    assert inputs["inputs_embeds"].shape == (1, length + 3, 24)
    assert inputs["logit_rows"].tolist() == [[length - 1, length, length + 1, length + 2]]
    assert inputs["inputs_embeds"][0, -1].tolist() == bundle.token_embedding[7].tolist()


@pytest.mark.parametrize("linked", [True, False])
def test_a_spoilt_product_is_the_most_sensitive(bundle, tmp_path, monkeypatch, linked):
    if not linked:

        def refuse(*_: object) -> None:
            raise OSError

        monkeypatch.setattr("os.link", refuse)
    scratch = tmp_path
    cells = [cell(12, 9, 8, 7), cell(30, 5, 6, 7, 8, 9)]
    plan = make_plan(
        TappedSystem(bundle, threads=1), cells, estimator=Estimator.max, smooth=False, seed=0
    )
    spoilt = "layers.1.mlp.down"
    products = dict(plan.recipes["decoder.onnx"].products)
    products[spoilt] = replace(products[spoilt], scale=10 * products[spoilt].scale)
    recipes = {**plan.recipes, "decoder.onnx": GraphRecipe(products=products)}
    ranked = rank(plan.reports)
    assert [s.sqnr for s in ranked] == sorted(s.sqnr for s in ranked)
    found = measure_divergence(
        bundle,
        replace(plan, recipes=recipes),
        ranked,
        cells,
        worst=len(ranked),
        scratch=scratch,
        threads=1,
    )
    assert found[0].product == spoilt
    assert all(s.kl > 0 for s in found if s.graph == GRAPHS[2])
    assert found[0].kl > 3 * found[1].kl
    assert list(scratch.iterdir()) == []
