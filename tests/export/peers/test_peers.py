"""Other implementations of the decoder compute what PyTorch computes, so their times may count."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from tiny_models import TinySizes, tiny_checkpoint
from tolerance import FLOAT32, worst_difference

from c2t.export.checkpoint.open import load_bundle_source
from c2t.export.peers.pytorch import TorchDecoder
from c2t.runtime.system.errors import CheckpointError

PEERS = {"optimum": "OptimumDecoder", "llama_cpp": "LlamaCppDecoder"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("peer", list(PEERS))
def test_decoder_peer_agrees_with_pytorch(peer: str) -> None:
    pytest.importorskip({"optimum": "optimum.onnxruntime"}.get(peer, peer))
    loaded = tiny_checkpoint(TinySizes(), 0)
    module = importlib.import_module(f"c2t.export.peers.{peer}")
    theirs = getattr(module, PEERS[peer])(loaded, 1)
    reference = TorchDecoder(loaded, 1)
    prompt = loaded.prompt
    # One that takes no vectors runs placeholders: give the reference the same.
    table = loaded.model.decoder.get_input_embeddings().weight.detach().numpy()
    vectors = np.repeat(table[[prompt.placeholder_id]], 9, axis=0)
    if theirs.takes_vectors:
        vectors = np.random.default_rng(0).standard_normal(vectors.shape, dtype=np.float32)
    logits = theirs.prefill(prompt.prefix_ids, vectors, prompt.suffix_ids)
    expected = reference.prefill(prompt.prefix_ids, vectors, prompt.suffix_ids)
    assert worst_difference(logits, expected) < FLOAT32
    for tokens in ([7], [3, 1, 4, 1], [7]):  # each runs right behind the prompt
        assert worst_difference(theirs.step(tokens), reference.step(tokens)) < FLOAT32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantised_peer_is_nearly_the_same_model() -> None:
    pytest.importorskip("llama_cpp")
    module = importlib.import_module("c2t.export.peers.llama_cpp")
    loaded = tiny_checkpoint(TinySizes(decoder_width=64, decoder_ffn=96), 0)
    theirs = module.LlamaCppDecoder(loaded, 1, quantised=True)
    vectors = np.random.default_rng(0).standard_normal((9, 64), dtype=np.float32)
    prompt = loaded.prompt
    logits, expected = (
        decoder.prefill(prompt.prefix_ids, vectors, prompt.suffix_ids)
        for decoder in (theirs, TorchDecoder(loaded, 1))
    )
    cosine = logits @ expected / (np.linalg.norm(logits) * np.linalg.norm(expected))
    assert 0.999 < cosine < 1 - 1e-9  # near, and not the float32 model
    assert theirs.name == "llama.cpp Q8_0"


def test_weights_of_peers_are_named_once() -> None:
    for folder, preset in ((None, None), ("folder", "llama-tiny+geneformer-tiny")):
        with pytest.raises(CheckpointError, match="the weights that the bundle was made from"):
            load_bundle_source(folder, preset)
