"""A Llama decoder's step of up to 16 tokens on a CUDA device, in one kernel: `decoder_step.cu`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.layout import MAX_ROWS, THREADS, StepLayout
from c2t.kernels.decoder_step.pack import DeviceStepWeights
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.errors import KernelError

MIN_ARCHITECTURE = 80  # the first with asynchronous copies and these tensor core instructions
COUNTERS, COUNTER_STRIDE = 3, 32  # checked by `step_sizes.cuh`


@dataclass(frozen=True, eq=False)
class StepScratch:
    """Memory that a step works in; one step at a time uses it."""

    residual: DeviceArray  # [16, D] float32
    queries: DeviceArray  # [16, heads * head_size] float16
    context: DeviceArray  # [16, heads * head_size] float16
    gated: DeviceArray  # [16, F] float16
    counters: DeviceArray  # [3, 32] uint32, zeros before and after a step

    @classmethod
    def allocate(cls, sizes: StepSizes) -> StepScratch:
        """Room for the largest step.

        Raises:
            DeviceMemoryError: The GPU's memory is full.
        """
        return cls(
            DeviceArray.allocate((MAX_ROWS, sizes.hidden_size), np.float32),
            DeviceArray.allocate((MAX_ROWS, sizes.q_columns), np.float16),
            DeviceArray.allocate((MAX_ROWS, sizes.q_columns), np.float16),
            DeviceArray.allocate((MAX_ROWS, sizes.intermediate_size), np.float16),
            DeviceArray.zeros((COUNTERS, COUNTER_STRIDE), np.uint32),
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


def launch_decoder_step(
    device: CudaDevice, weights: DeviceStepWeights, scratch: StepScratch, step: StepArguments
) -> None:
    """Start a step of at most `MAX_ROWS` rows; does not wait.

    Raises:
        KernelError: The device has no room for a block, or cannot run all blocks at once.
    """
    rows = 8 if step.batch * step.tokens <= 8 else MAX_ROWS
    layout, blocks = weights.layout, device.multiprocessors
    ring = layout.ring(rows, blocks=blocks, shared_bytes=device.shared_bytes)
    if ring is None:
        problem = f"a step of {rows} rows does not fit into the GPU's shared memory"
        raise KernelError(problem, hint="ask `runs_steps` first")
    device.launch_cooperative(
        "decoder_step",
        "decoder_step",
        THREADS,
        layout.fixed_shared_bytes(rows, blocks) + layout.ring_bytes(ring),
        (
            weights.packed.pointer,
            weights.first_tiles.pointer,
            weights.norms.pointer,
            weights.scales.pointer,
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
            np.int64(step.cache_stride),
            *(np.int32(n) for n in (step.batch, step.tokens, step.logits_per_cell, step.capacity)),
            np.float32(weights.epsilon),
            np.float32(weights.scale),
        ),
        **layout.step_macros(rows, ring, blocks),
    )


def runs_steps(device: CudaDevice, layout: StepLayout) -> bool:
    """Whether the device can run steps of such a decoder."""
    if int(device.arch.removeprefix("sm_")) < MIN_ARCHITECTURE or layout.problem:
        return False
    ring = layout.ring(MAX_ROWS, blocks=device.multiprocessors, shared_bytes=device.shared_bytes)
    return ring is not None
