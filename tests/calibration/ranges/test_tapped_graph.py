"""Taps reduce the inputs of linears, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_bundle import make_bundle
from tiny_models import tiny_cell

from c2t.calibration.ranges.linears import StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell, decoder_inputs, encoder_inputs
from c2t.calibration.ranges.tapped_graph import TappedGraph
from c2t.runtime.generation.bundle_prompts import bundle_prompts


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny")).bundle


def cell(length: int, *text: int) -> CalibrationCell:
    return CalibrationCell(
        gene_tokens=tiny_cell(length, seed=length).numpy().astype(np.int32), text_tokens=text
    )


def exact_inputs(bundle, name, inputs) -> dict[str, np.ndarray]:
    """The inputs of all linears as plain outputs of the graph."""
    source = StoredGraph(bundle.file(name))
    model = onnx.load(bundle.file(name))
    values = sorted({p.input for p in source.linears()})
    for value in values:
        model.graph.output.append(onnx.helper.make_tensor_value_info(value, 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip(values, session.run(values, inputs), strict=True))


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
def test_taps_reduce_what_linears_are_given(bundle, name):
    one = cell(20, 9, 8, 7, 6)
    vectors = np.random.default_rng(0).standard_normal((8, 24)).astype(np.float32)
    inputs = (
        encoder_inputs(bundle, one.gene_tokens)
        if name == "encoder.onnx"
        else decoder_inputs(bundle, bundle_prompts(bundle).of_vectors(vectors), one.text_tokens)
    )
    exact = exact_inputs(bundle, name, inputs)
    source = StoredGraph(bundle.file(name))
    taps, _ = TappedGraph(source, threads=1).run(inputs, 1, 3)
    assert set(taps) == {p.name for p in source.linears()}
    for linear in source.linears():
        rows = exact[linear.input].reshape(-1, linear.inputs)
        tap = taps[linear.name]
        assert tap.largest == pytest.approx(np.abs(rows).max(axis=0), abs=1e-6)
        assert tap.rows == pytest.approx(rows[1::3], abs=1e-6)


def test_prefill_and_steps_are_one_run(bundle):
    """Logits are asked of the prompt's last row and of every token that was fed."""
    vectors = np.zeros((8, 24), np.float32)
    inputs = decoder_inputs(bundle, bundle_prompts(bundle).of_vectors(vectors), (9, 8, 7, 6))
    prompt = bundle.manifest.prompt
    length = len(prompt.prefix_ids) + 8 + len(prompt.suffix_ids)
    assert inputs["inputs_embeds"].shape == (1, length + 3, 24)
    assert inputs["logit_rows"].tolist() == [[length - 1, length, length + 1, length + 2]]
    assert inputs["inputs_embeds"][0, -1].tolist() == bundle.token_embedding[7].tolist()
