"""The decoder on a GPU: its caches, and the steps that are bound to them."""

from __future__ import annotations

import copy

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.tokens.cuda import DeviceTokenTable
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import KeyValueCache
from c2t.runtime.engines.gpu.cache import DeviceCache
from c2t.runtime.engines.gpu.graph import DeviceGraph, engine_error
from c2t.runtime.engines.gpu.step import DeviceStep, StepResources
from c2t.runtime.system.errors import C2TError, EngineError


class DeviceDecoder:
    """See `c2t.runtime.engine_protocol.DecoderEngine`.

    Args:
        graph: The decoder's graph, opened on it.
        sizes: Of the bundle's manifest.
        table: The text token table, on the device.
    """

    # A run over a few tokens starts no other kernels than one over one token does.
    multi_token_overhead = 0.0

    def __init__(
        self, device: CudaDevice, graph: DeviceGraph, sizes: Decoder, table: DeviceTokenTable
    ) -> None:
        self.device = device
        self.graph = graph
        self.max_bit_exact_rows = graph.max_bit_exact_rows
        self.prompt_batch_tokens = graph.batch_tokens
        self._resources = StepResources(
            device=device, sizes=sizes, table=table, dtype=graph.dtypes["inputs_embeds"]
        )

    def clone(self) -> DeviceDecoder:
        """The same graph with buffers of its own; its runs share the stream."""
        other = copy.copy(self)
        other._resources = self._resources.clone()
        return other

    def new_cache(self, rows: int, capacity: int) -> DeviceCache:
        """A cache of zeros; with more cache positions where the graph has a fixed number.

        Raises:
            EngineError: It does not fit into the GPU's memory, or into the graph.
        """
        fixed = self.graph.cache_capacity
        if fixed is not None and capacity > fixed:
            problem = f"the plans hold {fixed} tokens a cell; {capacity} are needed"
            raise EngineError(problem, hint="build others: `c2t build --max-new-tokens N`")
        own = self._resources
        return DeviceCache(self.device, own.sizes, own.dtype, rows, fixed or capacity)

    def growing_cache(self, rows: int, capacity: int) -> DeviceCache:
        """The same: kernels read what is in a cache, and recorded steps know where it lies."""
        return self.new_cache(rows, capacity)

    def bind(
        self, cache: KeyValueCache, rows: tuple[int, int], tokens: int, logit_rows: int
    ) -> DeviceStep:
        """A step over the batch rows [first, end) of a cache; kept for the next call.

        Raises:
            EngineError: The GPU's memory is full, or the graph does not take such a step.
        """
        if not isinstance(cache, DeviceCache):
            message = f"a cache of another engine: {type(cache).__name__}"
            raise TypeError(message)
        shape = (*rows, tokens, logit_rows)
        try:
            return cache.steps.get(
                shape, lambda: DeviceStep(self.graph, self._resources, cache, shape)
            )
        except C2TError as error:
            doing = f"the decoder cannot run {rows[1] - rows[0]} x {tokens} tokens"
            raise engine_error(error, doing) from error
