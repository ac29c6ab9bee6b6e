"""A Llama decoder's step of a few tokens on a CUDA device, in one kernel: `decoder_step.cu`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.layout import ROWS, THREADS, StepLayout
from c2t.kernels.decoder_step.pack import DeviceStepWeights
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.errors import KernelError

MIN_ARCHITECTURE = 80  # the first with asynchronous copies and these tensor core instructions
COUNTERS, COUNTER_STRIDE = 3, 32  # checked by `step_sizes.cuh`


@dataclass(frozen=True, eq=False)
class StepScratch:
    """Memory that a step of at most R rows works in; one step at a time uses it."""

    residual: DeviceArray  # [R, D] float32
    queries: DeviceArray  # [R, heads * head_size] float16
    context: DeviceArray  # as queries; int8 in front of a linear in int8, whose rows begin every 16
    gated: DeviceArray  # [R, F], likewise
    counters: DeviceArray  # [3, 32] uint32, zeros before and after a step
    spoilt: DeviceArray  # [R] float32, likewise; NaN of rows with a number that is not finite

    @classmethod
    def allocate(cls, sizes: StepSizes, rows: int) -> StepScratch:
        """Room for a step of so many rows.

        Raises:
            DeviceMemoryError: The GPU's memory is full.
        """
        return cls(
            DeviceArray.allocate((rows, sizes.hidden_size), np.float32),
            DeviceArray.allocate((rows, sizes.q_columns), np.float16),
            DeviceArray.allocate((rows, sizes.q_columns), np.float16),
            DeviceArray.allocate((rows, sizes.intermediate_size), np.float16),
            DeviceArray.zeros((COUNTERS, COUNTER_STRIDE), np.uint32),
            DeviceArray.zeros((rows,), np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class StepArguments:
    """Addresses on the device, and sizes, of one step."""

    embeds: int  # [batch, tokens, D] float16
    positions: int  # [batch, tokens] int64
    write_index: int  # [batch] int64: cache position of the first token
    logit_rows: int  # [batch, logits_per_cell] int64: tokens whose logits are wanted
    cache: int  # keys of the first layer [batch, kv_heads, capacity, head_size] float16
    cache_stride: int  # elements from keys to values, and from those to the next layer's keys
    logits: int  # [batch, logits_per_cell, V] float32
    batch: int
    tokens: int
    logits_per_cell: int
    capacity: int
    first_token: int = 0  # tokens of each cell between `write_index` and the first of `embeds`


def launch_decoder_step(
    device: CudaDevice, weights: DeviceStepWeights, scratch: StepScratch, step: StepArguments
) -> None:
    """Start a step of at most `max_step_rows` rows; does not wait.

    Raises:
        KernelError: The device has no room for a block, or cannot run all blocks at once.
    """
    layout, blocks = weights.layout, device.multiprocessors
    needed = step.batch * max(step.tokens, step.logits_per_cell)
    most = max_step_rows(device, layout)
    rows = next((rows for rows in ROWS if needed <= rows <= most), 0)
    ring = layout.ring(rows, blocks=blocks, shared_bytes=device.shared_bytes) if rows else None
    if ring is None:
        problem = f"a step of {needed} rows does not fit onto the GPU, which has room for {most}"
        raise KernelError(problem, hint="ask `max_step_rows` first")
    numbers = step.batch, step.tokens, step.logits_per_cell, step.capacity, step.first_token
    device.launch_cooperative(
        "decoder_step",
        "decoder_step",
        THREADS,
        layout.shared_bytes(rows, ring, blocks),
        (
            weights.packed.pointer,
            weights.first_tiles.pointer,
            weights.norms.pointer,
            weights.scales.pointer,
            weights.input_scales.pointer,
            weights.cosines.pointer,
            weights.sines.pointer,
            step.embeds,
            step.positions,
            step.write_index,
            step.logit_rows,
            step.cache,
            step.logits,
            scratch.residual.pointer,
            scratch.queries.pointer,
            scratch.context.pointer,
            scratch.gated.pointer,
            scratch.counters.pointer,
            scratch.spoilt.pointer,
            np.int64(step.cache_stride),
            *(np.int32(number) for number in numbers),
            np.float32(weights.epsilon),
            np.float32(weights.scale),
        ),
        **layout.step_macros(rows, ring, blocks),
    )


def max_step_rows(device: CudaDevice, layout: StepLayout) -> int:
    """The most rows (tokens of all batch rows) of a step that the device can run; 0: none."""
    if int(device.arch.removeprefix("sm_")) < MIN_ARCHITECTURE or layout.problem:
        return 0
    return layout.max_rows(blocks=device.multiprocessors, shared_bytes=device.shared_bytes)
