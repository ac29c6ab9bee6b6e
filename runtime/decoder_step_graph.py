"""A decoder on a GPU whose short steps are one kernel of ours, and whose prompts a library runs.

One decision: a step of at most 16 rows costs what reading the weights costs, and no library reaches
that with hundreds of small kernels; what has more rows is arithmetic, which libraries do well. Both
use the same cache.
"""

from __future__ import annotations

from collections.abc import Mapping

from c2t.kernels.cuda_decoder_step import (
    MAX_ROWS,
    DeviceStepWeights,
    StepArguments,
    StepScratch,
    launch_decoder_step,
)
from c2t.kernels.cuda_launch import CudaDevice
from c2t.runtime.device_graph import STORAGE, BoundGraph, DeviceGraph, DeviceTensor


class DecoderStepGraph:
    """See `c2t.runtime.device_graph.DeviceGraph`.

    Args:
        graph: The decoder's graph, in float16.
        device: The device, whose stream both run on.
        weights: The same decoder's weights for the kernel.
    """

    def __init__(self, graph: DeviceGraph, device: CudaDevice, weights: DeviceStepWeights) -> None:
        self._graph = graph
        self._device = device
        self._weights = weights
        self._scratch = StepScratch.allocate(weights.sizes)
        self.dtypes = graph.dtypes
        self.cache_capacity = graph.cache_capacity

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> BoundGraph:
        """See `c2t.runtime.device_graph.DeviceGraph.bind`."""
        batch, tokens, _ = tensors["inputs_embeds"].shape
        if batch * tokens > MAX_ROWS:
            return self._graph.bind(tensors, repeated=repeated)
        return BoundDecoderStep(self._device, self._weights, self._scratch, _arguments(tensors))


class BoundDecoderStep:
    """See `c2t.runtime.device_graph.BoundGraph`."""

    def __init__(
        self,
        device: CudaDevice,
        weights: DeviceStepWeights,
        scratch: StepScratch,
        arguments: StepArguments,
    ) -> None:
        self._bound = device, weights, scratch, arguments

    def enqueue(self) -> None:
        """Start the kernel on the device's stream; does not wait."""
        launch_decoder_step(*self._bound)

    def close(self) -> None:
        """Nothing is kept for it."""


def _arguments(tensors: Mapping[str, DeviceTensor]) -> StepArguments:
    """A step's addresses; all caches lie in one array, keys and values of a layer in turn."""
    keys, values = tensors["past_key.0"], tensors["past_value.0"]
    batch, tokens, _ = tensors["inputs_embeds"].shape
    return StepArguments(
        embeds=tensors["inputs_embeds"].address,
        positions=tensors["position_ids"].address,
        write_index=tensors["write_index"].address,
        logit_rows=tensors["logit_rows"].address,
        cache=keys.address,
        cache_stride=(values.address - keys.address) // STORAGE[keys.dtype].itemsize,
        logits=tensors["logits"].address,
        batch=batch,
        tokens=tokens,
        places=tensors["logit_rows"].shape[1],
        capacity=keys.shape[2],
    )
