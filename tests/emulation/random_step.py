"""A random decoder for the step's kernel, packed on an emulated device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.groups import divide_step
from c2t.kernels.decoder_step.launch import (
    StepArguments,
    StepScratch,
    launch_decoder_step,
    max_step_rows,
)
from c2t.kernels.decoder_step.layout import NO_INT8, Int8Linears, StepLayout
from c2t.kernels.decoder_step.pack import DeviceStepWeights, pack_decoder
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer
from c2t.kernels.linears.matrix import Int8Matrix, Matrix
from emulation.device import EmulatedDevice

SMALL = StepSizes(
    layers=2,
    hidden_size=64,
    intermediate_size=96,
    heads=4,
    kv_heads=2,
    head_size=16,
    vocabulary_size=97,
)
CAPACITY = 128  # cache positions
# Quantisation steps of inputs: those of most numbers, so that few are saturated.
NORMED_SCALE, CONTEXT_SCALE, GATED_SCALE = 0.04, 0.02, 0.05


def random_decoder(sizes: StepSizes, int8: Int8Linears = NO_INT8) -> HostDecoder:
    """Weights that keep the residual stream near one.

    Args:
        sizes: Its sizes.
        int8: Its linears in int8, whose scales are as different as those of real columns.
    """
    draw = np.random.default_rng(0)

    def matrix(
        inputs: int, columns: int, in_int8: int, input_scale: float = NORMED_SCALE
    ) -> Matrix:
        values = draw.normal(0, inputs**-0.5, (inputs, columns)).astype(np.float32)
        if not in_int8 & 1:
            return values
        return quantised(values * draw.uniform(0.5, 2, columns), input_scale, axis=0)

    def norm() -> np.ndarray:
        return draw.uniform(0.5, 1.5, sizes.hidden_size).astype(np.float32)

    hidden, intermediate = sizes.hidden_size, sizes.intermediate_size
    frequencies = 1e4 ** (-np.arange(sizes.head_size // 2) * 2 / sizes.head_size)
    angles = np.arange(CAPACITY)[:, None] * frequencies
    lm_head = draw.normal(0, 0.1, (sizes.vocabulary_size, hidden)).astype(np.float32)
    return HostDecoder(
        layers=[
            HostLayer(
                attention_norm=norm(),
                qkv=matrix(hidden, sizes.qkv_columns, int8.qkv >> layer),
                o=matrix(sizes.q_columns, hidden, int8.o >> layer, CONTEXT_SCALE),
                mlp_norm=norm(),
                gate_up=matrix(hidden, 2 * intermediate, int8.gate_up >> layer),
                down=matrix(intermediate, hidden, int8.down >> layer, GATED_SCALE),
            )
            for layer in range(sizes.layers)
        ],
        norm=norm(),
        lm_head=quantised(lm_head, NORMED_SCALE, axis=1) if int8.lm_head else lm_head,
        cosines=np.cos(angles).astype(np.float32),
        sines=np.sin(angles).astype(np.float32),
        epsilon=1e-5,
        scale=sizes.head_size**-0.5,
    )


def quantised(values: np.ndarray, input_scale: float, *, axis: int) -> Int8Matrix:
    """Weights in int8 with a scale of each output."""
    scales = np.abs(values).max(axis=axis, keepdims=True) / 127
    steps = np.rint(values / scales).astype(np.int8)
    return Int8Matrix(
        values=steps, scales=scales.ravel().astype(np.float32), input_scale=input_scale
    )


@dataclass(frozen=True)
class PackedDecoder:
    """A decoder on the host and, packed, on a device; `rows` of a step are the most there."""

    sizes: StepSizes
    host: HostDecoder
    device: EmulatedDevice
    weights: DeviceStepWeights
    scratch: StepScratch
    rows: int

    @classmethod
    def make(
        cls, sizes: StepSizes, device: EmulatedDevice, int8: Int8Linears = NO_INT8
    ) -> PackedDecoder:
        """Draw and pack it; needs the fake driver."""
        packed = cls.of(sizes, device, random_decoder(sizes, int8))
        assert packed.weights.layout.int8 == int8
        return packed

    @classmethod
    def of(cls, sizes: StepSizes, device: EmulatedDevice, host: HostDecoder) -> PackedDecoder:
        """Pack a decoder."""
        layout = StepLayout.of(sizes, host)
        rows = max_step_rows(device, layout)
        weights = pack_decoder(device, layout, host)
        return cls(sizes, host, device, weights, StepScratch.allocate(sizes, rows), rows)

    def cache_shape(self, rows: int) -> tuple[int, ...]:
        """Keys and values of all layers."""
        s = self.sizes
        return (s.layers, 2, rows, s.kv_heads, CAPACITY, s.head_size)

    def new_cache(self, rows: int) -> DeviceArray:
        """A cache of zeros."""
        return DeviceArray.zeros(self.cache_shape(rows), np.float16)

    def step(
        self,
        cache: DeviceArray,
        embeds: np.ndarray,
        write_index: np.ndarray,
        logit_rows: np.ndarray,
        *,
        most: int | None = None,
    ) -> np.ndarray:
        """Logits [B,R,V] of embeddings [B,T,D] behind `write_index` [B] tokens of each row.

        Args:
            most: The most rows of a group; None: the step is not divided.
        """
        batch, tokens, _ = embeds.shape
        embeds_there, positions, index, rows = (
            DeviceArray.upload(array)
            for array in (
                embeds.astype(np.float16),
                (write_index[:, None] + np.arange(tokens)).astype(np.int64),
                write_index.astype(np.int64),
                logit_rows.astype(np.int64),
            )
        )
        shape = (*logit_rows.shape, self.sizes.vocabulary_size)
        logits = DeviceArray.allocate(shape, np.float32)
        whole = StepArguments(
            embeds=embeds_there.pointer,
            positions=positions.pointer,
            write_index=index.pointer,
            logit_rows=rows.pointer,
            cache=cache.pointer,
            cache_stride=batch * self.sizes.kv_heads * CAPACITY * self.sizes.head_size,
            logits=logits.pointer,
            batch=batch,
            tokens=tokens,
            logits_per_cell=logit_rows.shape[1],
            capacity=CAPACITY,
        )
        groups: tuple[StepArguments, ...] = (whole,)
        if most is not None:
            places = DeviceArray.upload(np.arange(most, dtype=np.int64))
            groups = divide_step(self.sizes, whole, rows=most, places=places.pointer)
        for group in groups:
            launch_decoder_step(self.device, self.weights, self.scratch, group)
        return logits.download()
