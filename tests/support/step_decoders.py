"""Random decoders for the tests of the CPU's step, in float32 and in int8."""

from __future__ import annotations

from typing import Any

import numpy as np

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer
from c2t.kernels.linears.matrix import Int8Matrix

POSITIONS = 512


def random_decoder(sizes: StepSizes, precision: str, seed: int = 0) -> HostDecoder:
    """A decoder whose numbers stay about one.

    Args:
        sizes: Of the decoder.
        precision: "float32", "int8", or "mixed": every other linear in int8.
        seed: Of its numbers.
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

    def norm() -> Any:
        return draw.uniform(0.5, 1.5, sizes.hidden_size).astype(np.float32)

    angles = np.arange(POSITIONS)[:, None] / 100 ** np.linspace(0, 1, sizes.head_size // 2)
    return HostDecoder(
        layers=[
            HostLayer(
                attention_norm=norm(),
                qkv=matrix(sizes.hidden_size, sizes.qkv_columns),
                o=matrix(sizes.q_columns, sizes.hidden_size),
                mlp_norm=norm(),
                gate_up=matrix(sizes.hidden_size, 2 * sizes.intermediate_size),
                down=matrix(sizes.intermediate_size, sizes.hidden_size),
            )
            for _ in range(sizes.layers)
        ],
        norm=norm(),
        lm_head=matrix(sizes.hidden_size, sizes.vocabulary_size, by_output=True),
        cosines=np.cos(angles).astype(np.float32),
        sines=np.sin(angles).astype(np.float32),
        epsilon=1e-5,
        scale=sizes.head_size**-0.5,
    )
