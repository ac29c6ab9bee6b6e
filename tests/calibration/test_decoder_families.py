"""Calibration of a bundle with a decoder of each family, briefly trained: kernels and logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cli_process import make_cells, set_golden
from family_bundles import SIZES, family_bundle
from numpy.typing import NDArray
from tiny_bundle import TinyBundle
from tiny_models import TEXTS, tiny_cell, tiny_tokenizer

from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.quantise.integer_kernels import BLOCK_KERNELS, INTEGER_KERNELS
from c2t.calibration.ranges.system_inputs import decoder_inputs
from c2t.calibration.results.gate import Tolerance
from c2t.export.decoders.families import FAMILIES
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.generation.bundle_prompts import bundle_prompts

# The decoder knows the texts of five cells: agreement on others says nothing.
ANYTHING = Tolerance(accuracy=1, similarity=1, agreement=0)
COSINES = {Precision.int8: 0.999, Precision.int8_weights: 0.9999, Precision.int4_weights: 0.995}


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    made = family_bundle(folder, request.param, trained=True)
    tokens = tiny_cell(12, SIZES).tolist()
    ids = made.reference(tokens, made.bundle.manifest.generation)
    text = made.loaded.tokenizer.decode(ids, skip_special_tokens=True)
    set_golden(folder, [{"gene_tokens": tokens, "token_ids": ids, "text": text}])
    return TinyBundle(open_bundle(folder), made.loaded)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 16)


def logits(bundle: Bundle, tiny: TinyBundle) -> NDArray[np.float32]:
    """Logits [T, V] along the sentences that the decoder learnt; all bundles get the same rows."""
    session = open_session(bundle.file("decoder.onnx"), EngineOptions(threads=1))
    model, found = tiny.loaded.model, []
    for seed, text in enumerate(TEXTS):
        with torch.inference_mode():
            vectors = model.project(model.encode(tiny_cell(20, SIZES, seed=seed))).numpy()
        prompt = bundle_prompts(tiny.bundle).of_vectors(vectors)
        inputs = decoder_inputs(tiny.bundle, prompt, tiny_tokenizer()(text)["input_ids"])
        (result,) = session.run(["logits"], inputs)
        found.append(result[0])
    return np.concatenate(found)


@pytest.mark.parametrize("precision", COSINES)
def test_every_product_runs_as_it_should_and_logits_stay(
    tiny: TinyBundle, cells: Path, tmp_path: Path, precision: Precision
) -> None:
    options = CalibrateOptions(
        cells=cells,
        output=tmp_path / "made",
        precision=precision,
        cells_count=8,
        gate_cells=4,
        divergence_linears=1,
        tolerance=ANYTHING,
        threads=1,
    )
    report = calibrate_bundle(tiny.bundle, options)
    kernels = {r.graph: r.kernels for r in report.kernels}
    allowed = INTEGER_KERNELS if precision is Precision.int8 else BLOCK_KERNELS
    assert {kernel for found in kernels.values() for kernel in found.values()} <= allowed
    assert len(kernels["decoder.onnx"]) == 4 * tiny.bundle.manifest.decoder.layers + 1
    before, after = logits(tiny.bundle, tiny), logits(open_bundle(tmp_path / "made"), tiny)
    products = (before * after).sum(axis=1)
    cosines = products / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    # The median: where the next token is anybody's guess, small logits differ more.
    assert np.median(cosines) > COSINES[precision]
