"""Random decoders for the tests of the CPU's step, of every family, in float32 and in int8."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer, LayerBiases
from c2t.kernels.linears.matrix import Int8Matrix

POSITIONS = 512
# What a decoder can have that a Llama has not, alone and as families have it.
FORMS: dict[str, tuple[str, ...]] = {
    "biases": ("biases",),
    "layer norms": ("layer norms",),
    "head norms": ("head norms",),
    "norms behind": ("norms behind",),
    "partly rotated": ("partly rotated",),
    "windows": ("windows",),
    "attention cap": ("attention cap",),
    "logit cap": ("logit cap",),
    "embedding scale": ("embedding scale",),
    "parallel": ("parallel",),
    "no gates": ("no gates",),
    "gelu": ("gelu",),
    "gelu_tanh": ("gelu_tanh",),
    "qwen": ("biases", "head norms", "windows"),
    "gpt_neox": ("biases", "layer norms", "partly rotated", "parallel", "no gates", "gelu"),
    "one behind the other": ("biases", "layer norms", "no gates", "gelu_tanh"),
    "gemma2": (
        *("norms behind", "windows", "attention cap", "logit cap", "embedding scale", "gelu_tanh"),
    ),
}


def random_decoder(
    sizes: StepSizes, precision: str, seed: int = 0, form: Collection[str] = ()
) -> HostDecoder:
    """A decoder whose numbers stay about one.

    Args:
        sizes: Of the decoder.
        precision: "float32", "int8", or "mixed": every other linear in int8.
        seed: Of its numbers.
        form: What it has that a Llama has not, see `FORMS`.
    """
    draw = np.random.default_rng(seed)
    made = 0

    def matrix(inputs: int, outputs: int, *, by_output: bool = False) -> Any:
        nonlocal made
        made += 1
        shape = (outputs, inputs) if by_output else (inputs, outputs)
        floats = draw.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(inputs))
        if precision == "float32" or (precision == "mixed" and made % 2):
            return floats
        scales = np.abs(floats).max(axis=1 if by_output else 0) / np.float32(127)
        values = np.rint(floats / (scales[:, None] if by_output else scales)).astype(np.int8)
        # The ends of int8: sums of 16 bits would not hold them.
        values.reshape(-1)[draw.integers(0, values.size, values.size // 8)] = -128
        return Int8Matrix(values=values, scales=scales, input_scale=float(draw.uniform(0.01, 0.03)))

    def norm(kind: str = "", size: int = 0) -> Any:
        if kind and kind not in form:
            return None
        return draw.uniform(0.5, 1.5, size or sizes.hidden_size).astype(np.float32)

    def bias(kind: str, size: int) -> Any:
        return draw.normal(0, 0.5, size).astype(np.float32) if kind in form else None

    def biases() -> LayerBiases:
        return LayerBiases(
            attention_norm=bias("layer norms", sizes.hidden_size),
            qkv=bias("biases", sizes.qkv_columns),
            o=bias("biases", sizes.hidden_size),
            mlp_norm=bias("layer norms", sizes.hidden_size),
            gate_up=bias("biases", wide),
            down=bias("biases", sizes.hidden_size),
        )

    gated = "no gates" not in form
    wide = sizes.intermediate_size * (1 + gated)
    half = sizes.head_size // 2
    if "partly rotated" in form:
        half = max(1, half // 2)
    angles = np.arange(POSITIONS)[:, None] / 100 ** np.linspace(0, 1, half)
    return HostDecoder(
        layers=[
            HostLayer(
                attention_norm=norm(),
                qkv=matrix(sizes.hidden_size, sizes.qkv_columns),
                o=matrix(sizes.q_columns, sizes.hidden_size),
                mlp_norm=norm(),
                gate_up=matrix(sizes.hidden_size, wide),
                down=matrix(sizes.intermediate_size, sizes.hidden_size),
                biases=biases(),
                q_norm=norm("head norms", sizes.head_size),
                k_norm=norm("head norms", sizes.head_size),
                after_attention=norm("norms behind"),
                after_mlp=norm("norms behind"),
                window=(7, 0)[index % 2] if "windows" in form else 0,
            )
            for index in range(sizes.layers)
        ],
        norm=norm(),
        lm_head=matrix(sizes.hidden_size, sizes.vocabulary_size, by_output=True),
        cosines=np.cos(angles).astype(np.float32),
        sines=np.sin(angles).astype(np.float32),
        epsilon=1e-5,
        scale=sizes.head_size**-0.5,
        norm_bias=bias("layer norms", sizes.hidden_size),
        activation=next((name for name in ("gelu", "gelu_tanh") if name in form), "silu"),
        gated=gated,
        parallel="parallel" in form,
        attention_cap=1.5 if "attention cap" in form else 0.0,
        logit_cap=2.0 if "logit cap" in form else 0.0,
        embedding_scale=3.0 if "embedding scale" in form else 1.0,
    )
