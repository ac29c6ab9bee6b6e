"""PyTorch as a peer in the benchmark: it computes what the bundle's engines compute."""

from __future__ import annotations

import numpy as np
import pytest
from cli_process import Command
from tiny_bundle import TinyBundle, make_bundle
from tiny_models import tiny_cell

from c2t.export.peers.kernels import torch_embedder
from c2t.export.peers.pytorch import TorchDecoder, TorchTexts
from c2t.runtime.bench.contest import OurTexts
from c2t.runtime.bench.decoder_steps import DecoderBenchOptions, OurDecoder, bench_decoder
from c2t.runtime.bench.kernels import KernelBenchOptions, bench_kernels
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.engine_protocol import EngineOptions


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_the_same_alone_and_in_padded_batches(tiny: TinyBundle, beams: int) -> None:
    cells = [tiny_cell(n, seed=i).numpy().astype(np.int32) for i, n in enumerate((48, 20, 5, 20))]
    ours = OurTexts(tiny.bundle, DescribeOptions(threads=1, num_beams=beams))
    peer = TorchTexts(tiny.loaded, tiny.bundle.manifest.generation)
    expected = ours.describe(cells, beams)
    assert [peer.describe([cell], beams)[0] for cell in cells] == expected
    assert peer.describe(cells, beams) == expected


def test_logits_are_the_same(tiny: TinyBundle) -> None:
    figures = bench_decoder(
        tiny.bundle,
        [OurDecoder(tiny.bundle, EngineOptions(threads=1))],
        [TorchDecoder(tiny.loaded)],
        SpeedProbe(1, read_bytes=1 << 20),
        DecoderBenchOptions(rounds=1, steps=1),
    )
    assert max(figures["largest_logit_difference"].values()) < 1e-5
    assert figures["step"]["times_faster_than"]["PyTorch"] > 0


def test_embeddings_are_the_same() -> None:
    options = KernelBenchOptions(
        rounds=1, threads=1, lengths=(64,), hidden_sizes=(16,), rank_cells=20
    )
    document = bench_kernels(options, {"torch": torch_embedder})  # compares before it times
    assert document["embedding"][0]["times_torch"] > 0
    assert len(document["targets"]) == 5


def test_the_weights_must_be_named(call_c2t: Command, tiny: TinyBundle) -> None:
    done = call_c2t("bench", tiny.bundle.path, "--against", "torch")
    assert done.returncode == 1
    assert "--checkpoint FOLDER or --preset NAME" in done.stderr
