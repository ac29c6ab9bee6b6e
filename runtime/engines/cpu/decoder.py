"""The decoder on the CPU: KV buffers of our own, bound in place as past and present.

One decision: the keys and values of all layers are one array [L,2,B,KV,C,head_size]. The batch rows
of a layer are contiguous in it, so any range of them can be bound as a smaller batch without a
copy. A new cell is prefilled straight into its batch row, and a half-empty batch runs only the rows
that are in use.
"""

from __future__ import annotations

import copy
import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.mapped import empty_pages
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import (
    EngineOptions,
    Float32,
    Int64,
    KeyValueCache,
    SavedPrefix,
)
from c2t.runtime.engines.buffers import BoundSteps, HostBuffer, StepShape
from c2t.runtime.engines.cpu.host_step import HostStep
from c2t.runtime.engines.cpu.session import RUN_HINT, is_prepacked, open_session
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime, onnxruntime_errors
from c2t.runtime.system.errors import EngineError, first_line

# Weights that were not packed at opening are packed in every run over several tokens. A run over a
# single token needs no packing. Measured at 124M weights: 47 against 20 ms of processor time.
PACKING_COST = 1.4


# A growing cache grows by an eighth of its capacity: each time all that is in it is copied.
GROWTHS = 8
# And to a multiple of this: products over a few cache positions more than a multiple of four round
# the last bit of a sum otherwise (seen with 15, 19, ... and 31 of ONNX Runtime 1.31).
GROWTH_UNIT = 64


class OnnxRuntimeCache:
    """KV buffers [L,2,B,KV,C,head_size], float32, of as many cache positions as have memory.

    ONNX Runtime's attention computes with all of them, whether they are in use or not: a prompt of
    900 tokens in a cache for 1,800 takes twice the time there. Those that are not in use have no
    weight in a result.

    See `c2t.runtime.engine_protocol.KeyValueCache`.

    Args:
        sizes: Of the bundle's manifest.
        rows: B.
        capacity: Most cache positions of a batch row.
        positions: Those that have memory from the beginning.

    Attributes:
        used_rows: Batch rows up to the last one that a step was bound to.
    """

    def __init__(self, sizes: Decoder, rows: int, capacity: int, positions: int) -> None:
        self._sizes, self._rows, self._capacity = sizes, rows, capacity
        self.used_rows = 0
        self.buffer = self._allocate(positions)
        self.steps = BoundSteps()

    @property
    def rows(self) -> int:
        """B."""
        return self._rows

    @property
    def capacity(self) -> int:
        """Most cache positions of a batch row."""
        return self._capacity

    def make_room(self, positions: int) -> None:
        """See `c2t.runtime.engine_protocol.KeyValueCache.make_room`."""
        old = self.buffer.shape[4]
        if positions <= old:
            return
        most = _rounded(self._capacity, GROWTH_UNIT)
        growth = _rounded(most // GROWTHS, GROWTH_UNIT)
        buffer = self._allocate(min(most, _rounded(positions, growth)))
        if old:
            used = slice(0, self.used_rows)
            buffer[:, :, used, :, :old] = self.buffer[:, :, used]
        self.steps.clear()
        self.buffer = buffer

    def _allocate(self, positions: int) -> Float32:
        """Zeros, which take no memory before they are written to.

        Raises:
            EngineError: There is no memory.
        """
        sizes = self._sizes
        shape = (sizes.layers, 2, self._rows, sizes.kv_heads, positions, sizes.head_size)
        try:
            pages = empty_pages(max(1, 4 * math.prod(shape)))
        except MemoryError as error:
            problem = f"no memory for {positions:,} cache positions of {self._rows} cells"
            raise EngineError(problem, hint="describe fewer cells at a time") from error
        return np.frombuffer(pages, np.float32, math.prod(shape)).reshape(shape)

    def save(self, row: int, length: int) -> SavedPrefix:
        """A copy of the first `length` cache positions of a batch row."""
        return SavedPrefix(length, self.buffer[:, :, row, :, :length].copy())

    def load(self, row: int, prefix: SavedPrefix, length: int | None = None) -> None:
        """See `c2t.runtime.engine_protocol.KeyValueCache.load`."""
        length = prefix.length if length is None else length
        self.buffer[:, :, row, :, :length] = prefix.state[:, :, :, :length]

    def put(self, row: int, keys_values: Float32) -> None:
        """Write keys and values [L,2,KV,P,head_size] to the first P cache positions of a row."""
        self.buffer[:, :, row, :, : keys_values.shape[3]] = keys_values

    def gather(self, sources: list[int], start: int, stop: int) -> None:
        """Give batch row i what row `sources[i]` had at [start, stop) before the call."""
        moved = [(row, source) for row, source in enumerate(sources) if row != source]
        if not moved or start >= stop:
            return
        targets = [row for row, _ in moved]
        origins = [source for _, source in moved]
        if len(moved) == 1:  # plain slices: no temporary
            self.buffer[:, :, targets[0], :, start:stop] = self.buffer[
                :, :, origins[0], :, start:stop
            ]
            return
        window = self.buffer[..., start:stop, :]
        window[:, :, targets] = window[:, :, origins]


def _rounded(number: int, unit: int) -> int:
    """The next multiple of a unit, itself included, and at least one."""
    return max(1, math.ceil(number / unit)) * unit


class OnnxRuntimeStep(HostStep):
    """A bound run over the batch rows [first, end) of a cache.

    See `c2t.runtime.engine_protocol.BoundStep`.
    """

    def __init__(
        self, decoder: OnnxRuntimeDecoder, cache: OnnxRuntimeCache, shape: StepShape
    ) -> None:
        super().__init__(decoder, shape)
        first, end, *_ = shape
        self._kv_length: Int64 = np.zeros(end - first, dtype=np.int64)
        self._session = decoder.session
        self._binding = decoder.session.io_binding()
        self._values: list[Any] = []  # keeps the bound memory alive
        to_value = decoder.to_value
        for name, array in (
            ("inputs_embeds", self.inputs_embeds),
            ("position_ids", self.position_ids),
            ("write_index", self.write_index),
            ("kv_length", self._kv_length),
            ("logit_rows", self.logit_rows),
        ):
            value = to_value(array)
            self._binding.bind_ortvalue_input(name, value)
            self._values.append(value)
        for layer in range(decoder.sizes.layers):
            for part, name in enumerate(("key", "value")):
                value = to_value(cache.buffer[layer, part, first:end])
                self._binding.bind_ortvalue_input(f"past_{name}.{layer}", value)
                self._binding.bind_ortvalue_output(f"present_{name}.{layer}", value)
                self._values.append(value)
        value = to_value(self.logits)
        self._binding.bind_ortvalue_output("logits", value)
        self._values.append(value)

    def run_embedded(self) -> None:
        """See `HostStep.run_embedded`."""
        np.add(self.write_index, self.tokens, out=self._kv_length)
        try:
            self._session.run_with_iobinding(self._binding)
        except onnxruntime_errors() as error:
            batch = len(self.write_index)
            problem = f"decoder failed on {batch} x {self.tokens} tokens: {first_line(error)}"
            raise EngineError(problem, hint=RUN_HINT) from error


class StepKernel(Protocol):
    """Our kernel, which runs all steps."""

    def bind(
        self, decoder: OnnxRuntimeDecoder, cache: OnnxRuntimeCache, shape: StepShape
    ) -> HostStep:
        """A step of that shape."""
        ...

    def new_cache(
        self, sizes: Decoder, rows: int, capacity: int, positions: int
    ) -> OnnxRuntimeCache:
        """A cache that its steps run on; see `OnnxRuntimeCache`."""
        ...

    def clone(self) -> StepKernel:
        """The same weights with buffers of its own, for another thread."""
        ...


class OnnxRuntimeDecoder:
    """`decoder.onnx`, run in place on caches of `new_cache`.

    Args:
        path: The graph.
        sizes: Of the bundle's manifest.
        token_embedding: Text token rows [V,D], indexed by rows only; any float dtype.
        options: How to open it.
        kernel: What runs all steps; None: a session of the graph, which is opened.

    Raises:
        EngineError: The graph cannot be opened.
    """

    # On the CPU, drafts were never seen to change a text.
    max_bit_exact_rows: int | None = None
    prompt_batch_tokens = 0

    def __init__(
        self,
        path: Path,
        sizes: Decoder,
        token_embedding: NDArray[Any],
        options: EngineOptions,
        *,
        kernel: StepKernel | None = None,
    ) -> None:
        self._ort = load_onnxruntime()
        self.sizes = sizes
        self.token_embedding = token_embedding
        self.embeds, self.logits = HostBuffer(), HostBuffer()
        packed = kernel is not None or is_prepacked(path, options)
        self.multi_token_overhead = 0.0 if packed else PACKING_COST
        self.kernel = kernel
        self.session: Any = None if kernel else open_session(path, options)

    def clone(self) -> OnnxRuntimeDecoder:
        """The same weights, which several threads may use, with buffers of its own."""
        other = copy.copy(self)
        other.embeds, other.logits = HostBuffer(), HostBuffer()
        other.kernel = self.kernel.clone() if self.kernel else None
        return other

    def to_value(self, array: NDArray[Any]) -> Any:
        """An OrtValue on the array's own memory."""
        return self._ort.OrtValue.ortvalue_from_numpy(array)

    def new_cache(self, rows: int, capacity: int) -> OnnxRuntimeCache:
        """An empty cache of zeros."""
        return self._cache(rows, capacity, capacity)

    def growing_cache(self, rows: int, capacity: int) -> OnnxRuntimeCache:
        """See `c2t.runtime.engine_protocol.DecoderEngine.growing_cache`."""
        # Our kernel leaves positions alone that are not in use: they take no memory, and to grow
        # would take twice the memory of those that are. Windows counts them all the same, and so
        # does a limit of the process's addresses.
        if self.kernel and sys.platform != "win32":
            with suppress(EngineError):
                return self._cache(rows, capacity, capacity)
        return self._cache(rows, capacity, 0)

    def _cache(self, rows: int, capacity: int, positions: int) -> OnnxRuntimeCache:
        make = self.kernel.new_cache if self.kernel else OnnxRuntimeCache
        return make(self.sizes, rows, capacity, positions)

    def bind(
        self, cache: KeyValueCache, rows: tuple[int, int], tokens: int, logit_rows: int
    ) -> HostStep:
        """A step over the batch rows [first, end) of a cache; kept for the next call."""
        if not isinstance(cache, OnnxRuntimeCache):
            message = f"a cache of another engine: {type(cache).__name__}"
            raise TypeError(message)
        if not 0 <= rows[0] < rows[1] <= cache.rows:
            message = f"batch rows {rows[0]} to {rows[1] - 1} of a cache of {cache.rows}"
            raise ValueError(message)
        cache.used_rows = max(cache.used_rows, rows[1])
        shape = (*rows, tokens, logit_rows)
        bind = self.kernel.bind if self.kernel else OnnxRuntimeStep
        return cache.steps.get(shape, lambda: bind(self, cache, shape))
