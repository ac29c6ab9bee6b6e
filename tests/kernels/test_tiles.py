"""AMX gives the bits of AVX-512: integers are added exactly, whatever the order and the tiles."""

from __future__ import annotations

import os

import numpy as np
import pytest
from encoders import random_encoder, random_projector
from step_decoders import random_decoder

from c2t.kernels.attention import cpu as attention_on_cpu
from c2t.kernels.decoder_step.cpu import CpuDecoderStep
from c2t.kernels.decoder_step.packed_decoder import PackedDecoder
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.encoder.cpu import CpuEncoder, PackedEncoder
from c2t.kernels.native import ISA_NUMBER, NativeKernels, native_kernels


def implementations() -> dict[str, NativeKernels]:
    """Both, where this processor has tiles and this build of the library knows them."""
    kernels = native_kernels()
    if kernels is None or not kernels.library.c2t_isa_mask() >> ISA_NUMBER["amx"] & 1:
        return {}
    names = ("avx512", "amx")
    return {n: NativeKernels(library=kernels.library, isa=ISA_NUMBER[n]) for n in names}


BOTH = implementations()
pytestmark = [
    pytest.mark.skipif(not BOTH, reason="this processor or library has no AMX"),
    pytest.mark.skipif("C2T_FORCE_ISA" in os.environ, reason="an implementation is forced"),
]
# Inputs of linears below, at and above what a tile takes at a time, and no multiple of four.
SIZES = {
    "below a tile": {"hidden_size": 30, "intermediate_size": 37, "heads": 3, "head_size": 10},
    "whole tiles": {"hidden_size": 128, "intermediate_size": 576, "heads": 4, "head_size": 32},
    "and a rest": {"hidden_size": 194, "intermediate_size": 1150, "heads": 2, "head_size": 66},
}


@pytest.mark.parametrize("of", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_steps_have_the_same_bits(of: dict[str, int], precision: str) -> None:
    sizes = StepSizes(layers=2, kv_heads=of["heads"], vocabulary_size=130, **of)
    decoder = random_decoder(sizes, precision)
    steps = [CpuDecoderStep(PackedDecoder(kernels, sizes, decoder)) for kernels in BOTH.values()]
    for rows in (1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 70):
        embeds = np.random.default_rng(rows).normal(size=(1, rows, sizes.hidden_size))
        found = []
        for step in steps:
            cache = np.zeros((2, 2, 1, sizes.kv_heads, rows, sizes.head_size), np.float32)
            logits = np.zeros((1, rows, sizes.vocabulary_size), np.float32)
            step.run(
                embeds.astype(np.float32),
                cache,
                logits,
                positions=np.arange(rows)[None],
                write_index=np.zeros(1, np.int64),
                logit_rows=np.arange(rows)[None],
            )
            found.append((logits, cache))
        np.testing.assert_array_equal(*(logits for logits, _ in found))
        np.testing.assert_array_equal(*(cache for _, cache in found))


@pytest.mark.parametrize("genes", [1, 9, 65, 200, 700])
@pytest.mark.parametrize("width", [(30, 3), (64, 4), (320, 2)], ids=str)
def test_encoders_have_the_same_bits(genes: int, width: tuple[int, int]) -> None:
    hidden, heads = width
    of = random_encoder(layers=2, hidden_size=hidden, intermediate_size=3 * hidden, heads=heads)
    projector = random_projector(hidden, 2 * hidden, hidden)
    embeddings = np.random.default_rng(genes).normal(size=(2, genes, hidden)).astype(np.float32)
    found = [CpuEncoder(PackedEncoder(k, of, projector)).run(embeddings) for k in BOTH.values()]
    np.testing.assert_array_equal(*(run.hidden for run in found))
    np.testing.assert_array_equal(*(run.vectors for run in found))


@pytest.mark.parametrize("head_size", [1, 16, 63, 64, 65, 130, 256])
def test_attention_has_the_same_bits(head_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(head_size)
    rows = [draw.normal(size=(2, 300, 2 * head_size)).astype(np.float32) for _ in range(3)]
    lengths = np.array([300, 129])
    found = []
    for name in BOTH:
        monkeypatch.setattr(attention_on_cpu, "attention_isa", lambda name=name: name)
        attend = attention_on_cpu.attention
        found.append(attend(*rows, heads=2, scale=0.2, key_lengths=lengths))
    np.testing.assert_array_equal(*found)
