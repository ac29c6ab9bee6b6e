"""A run behind the prompt's prefix gives what a run with the prefix gives."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from tiny_bundle import make_bundle
from tolerance import FLOAT32, worst_difference

from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.system_inputs import (
    CalibrationCell,
    decoder_inputs,
    prefix_inputs,
    shared_beginning,
)
from c2t.runtime.generation.bundle_prompts import BundlePrompts, bundle_prompts


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny")).bundle


def test_the_prefix_may_be_run_once(bundle):
    session = onnxruntime.InferenceSession(bundle.file("decoder.onnx"))
    sizes = bundle.manifest.decoder
    vectors = np.random.default_rng(0).standard_normal((8, sizes.hidden_size), dtype=np.float32)
    text, prompts = (5, 9, 11, 2), bundle_prompts(bundle)
    cell = prompts.of_vectors(vectors)
    whole = session.run(["logits"], decoder_inputs(bundle, cell, text))[0]
    names = [f"present_{name}" for name in sizes.cache_names]
    prefix = session.run(names, prefix_inputs(bundle, shared_beginning(prompts, [])))
    length = len(bundle.manifest.prompt.prefix_ids)
    assert prefix[0].shape == (1, sizes.kv_heads, length, sizes.head_size)
    behind = session.run(["logits"], decoder_inputs(bundle, cell, text, prefix))[0]
    assert whole.shape == behind.shape == (1, 4, sizes.vocabulary_size)
    assert worst_difference(behind, whole) < FLOAT32


def test_a_pass_takes_the_prefix_once(bundle):
    cells = [
        CalibrationCell(gene_tokens=np.arange(4, 12, dtype=np.int32), text_tokens=(3, 4, 5)),
        CalibrationCell(gene_tokens=np.arange(4, 9, dtype=np.int32), text_tokens=(7,)),
    ]
    system = TappedSystem(bundle, threads=1)
    prefix = system.run_prefix(cells)
    runs = list(system.passes(cells, "test", prefix))
    assert [sorted(taps) for taps in runs] == [
        ["decoder.onnx", "encoder.onnx", "projector.onnx"],
        ["decoder.onnx", "encoder.onnx", "projector.onnx"],
    ]
    prompt = bundle.manifest.prompt
    linear = "layers.0.attention.qkv"
    assert prefix.token_ids == prompt.prefix_ids
    assert len(prefix.taps[linear].rows) == len(prompt.prefix_ids)
    # Vectors, suffix and fed tokens of each cell: the prefix is not among them again.
    rows = [len(taps["decoder.onnx"][linear].rows) for taps in runs]
    assert rows == [8 + len(prompt.suffix_ids) + 2, 5 + len(prompt.suffix_ids)]


def test_texts_of_genes_share_what_their_tokens_do():
    prompts = BundlePrompts(beginning=(5, 6, 7, 8), ending=None)

    def cell(*tokens):
        return CalibrationCell(gene_tokens=np.array(tokens, np.int32), text_tokens=(1,))

    assert shared_beginning(prompts, [cell(5, 6, 7, 8, 9), cell(5, 6, 7, 9, 9)]) == (5, 6, 7)
    assert shared_beginning(prompts, [cell(5, 6, 7, 8, 9)]) == (5, 6, 7, 8)
    assert shared_beginning(prompts, [cell(5, 6)]) == (5,)  # a cell's last token is its own
    assert shared_beginning(prompts, [cell(9, 6, 7)]) == ()
