"""What llama.cpp computes from our GGUF files is what PyTorch computes, family by family."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_decoders import tiny_decoder_of
from tiny_sentences import FAMILY_NAMES, sentence_decoder

from c2t.runtime.system.errors import EngineError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
# llama.cpp's GELU is the one by tanh, from a table of half-precision numbers.
LEAST_COSINE = {True: 0.998, False: 0.99999}
# llama.cpp scales queries by the size of a head, whatever the config says.
CHANGES: dict[str, dict[str, Any]] = {"gpt_neox": {}, "gemma2": {"query_pre_attn_scalar": 16}}


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_logits(tmp_path: Path, family: str, quantised: bool) -> None:
    pytest.importorskip("llama_cpp")
    files = importlib.import_module("c2t.export.peers.gguf_file")
    peers = importlib.import_module("c2t.export.peers.llama_cpp")
    model = sentence_decoder(family, intermediate_size=96, **CHANGES[family])
    files.write_gguf(model, tmp_path / "m.gguf", quantised=quantised)
    words = model.config.vocab_size
    theirs = peers.LlamaCpp(
        tmp_path / "m.gguf", vocabulary=words, capacity=64, threads=1, quantised=quantised
    )
    ids = np.random.default_rng(0).integers(0, words, 40).tolist()
    found = [theirs.prefill_tokens(ids[:-2]), theirs.go_on(ids[-2]), theirs.go_on(ids[-1])]
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ids])).logits[0, -3:].numpy()
    for ours, other in zip(expected, found, strict=True):
        cosine = ours @ other / (np.linalg.norm(ours) * np.linalg.norm(other))
        assert cosine > LEAST_COSINE[quantised]


def test_what_llama_cpp_is_not_compared_with(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    files = importlib.import_module("c2t.export.peers.gguf_file")
    with pytest.raises(EngineError, match="'phi3'"):
        files.write_gguf(tiny_decoder_of("phi3"), tmp_path / "m.gguf")
    with pytest.raises(EngineError, match="query_pre_attn_scalar of 24"):
        files.write_gguf(tiny_decoder_of("gemma2"), tmp_path / "m.gguf")
