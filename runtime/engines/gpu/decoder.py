"""The decoder on a GPU, whichever library runs its graph.

One decision: a step is one copy of small integers to the device, the token rows' kernel, the graph,
the choice's kernel and one copy of three numbers a place back, all on one stream; the host waits
once, at the end. Embeddings, keys, values and logits never leave the device in greedy search.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.graph import RecordedWork
from c2t.kernels.cuda.memory import DeviceArray, PinnedBytes, copy_to_device, copy_to_host
from c2t.kernels.tokens.cuda import (
    DeviceTokenTable,
    choice_scratch_bytes,
    launch_choose_tokens,
    launch_token_rows,
)
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import Float32, Int32, Int64, KeyValueCache
from c2t.runtime.engines.gpu.cache import DeviceCache
from c2t.runtime.engines.gpu.graph import STORAGE, DeviceGraph, DeviceTensor, engine_error
from c2t.runtime.system.errors import C2TError, EngineError

# Bound shapes kept, see `c2t.runtime.engines.cpu.decoder`.
KEPT_STEPS = 128
# Longer runs are prompts: each has a length of its own, a CUDA graph of it would be used once.
REPEATED_TOKENS = 64
# Banned tokens a place that a recorded step has room for; a step with more is not recorded.
RECORDED_BANS = 8


class SharedDeviceMemory:
    """Device memory that all bound steps share, as large as the largest of them needs."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._memory = DeviceArray(0, (0,), np.dtype(np.uint8))
        self.moves = 0

    def address(self, size: int) -> int:
        """Address of at least so many bytes; `moves` counts when it changed."""
        if size > self._memory.nbytes:
            self.moves += 1  # also where there is no memory for more: the old one is freed first
            self._memory = DeviceArray(0, (0,), np.dtype(np.uint8))
            self._memory = DeviceArray.allocate((size,), np.uint8, what=self._what)
        return self._memory.pointer


class SharedHostMemory:
    """Page-locked memory that all steps share, as large as the largest of them needs."""

    def __init__(self) -> None:
        self._memory = PinnedBytes(0)

    def view(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array at the beginning of the memory."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > self._memory.array.nbytes:
            self._memory = PinnedBytes(size)
        found: NDArray[Any] = self._memory.array[:size].view(dtype).reshape(shape)
        return found

    @property
    def pointer(self) -> int:
        """Address of the memory."""
        return self._memory.pointer


@dataclass(frozen=True, eq=False)
class DeviceChoices:
    """See `c2t.runtime.engine_protocol.Choices`; copies, on the host."""

    tokens: Int64
    finite: NDArray[np.bool_]
    all_probabilities: Float32

    def probabilities(self, rows: list[int], places: list[int]) -> list[float]:
        """Softmax probabilities of the chosen tokens at the named places."""
        found: list[float] = self.all_probabilities[rows, places].tolist()
        return found


class DeviceStep:
    """A bound run over the rows [first, end) of a cache.

    See `c2t.runtime.engine_protocol.BoundStep`.
    """

    def __init__(
        self, decoder: DeviceDecoder, cache: DeviceCache, key: tuple[int, int, int, int]
    ) -> None:
        first, end, tokens, places = key
        self._decoder = decoder
        self._batch, self._tokens, self._places = end - first, tokens, places
        self._kept = cache.buffer  # the graph is bound to its addresses
        self._allocate()
        sizes, dtype = decoder.sizes, decoder.dtype
        integers = self._inputs.pointer
        tensors = {
            "inputs_embeds": DeviceTensor(
                self._embeds.pointer, (self._batch, tokens, sizes.hidden_size), dtype
            ),
            "logits": DeviceTensor(
                self._logits, (self._batch, places, sizes.vocabulary_size), "float32"
            ),
        }
        for name, array in (
            ("position_ids", self.position_ids),
            ("write_index", self.write_index),
            ("kv_length", self._kv_length),
            ("logit_rows", self.logit_rows),
        ):
            offset = array.ctypes.data - self._host.pointer
            tensors[name] = DeviceTensor(integers + offset, array.shape, "int64")
        tensors |= cache.tensors(first, end)
        self._bound = decoder.graph.bind(tensors, repeated=tokens <= REPEATED_TOKENS)
        self._moves = decoder.logits.moves
        self._has_run = False
        self._recorded: RecordedWork | None = None
        self.recording_problem = ""  # why the step was not recorded although it should be

    def _allocate(self) -> None:
        """The step's own memory: its integers on both sides, its embeddings, its choice."""
        decoder, batch, tokens, places = self._decoder, self._batch, self._tokens, self._places
        shapes = ((batch, tokens), (batch,), (batch,), (batch, places))
        wide = sum(math.prod(shape) for shape in shapes)
        bans = batch * places * RECORDED_BANS
        size = 8 * wide + 4 * (batch * tokens + bans)
        self._host = PinnedBytes(size)
        what = f"a step of {batch} x {tokens} tokens"
        self._inputs = DeviceArray.allocate((size,), np.uint8, what=what)
        whole: Int64 = self._host.array[: 8 * wide].view(np.int64)
        parts = np.split(whole, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        self.position_ids: Int64 = arrays[0]
        self.write_index: Int64 = arrays[1]
        self._kv_length: Int64 = arrays[2]
        self.logit_rows: Int64 = arrays[3]
        self._ids_offset = 8 * wide
        narrow: Int32 = self._host.array[8 * wide :].view(np.int32)
        self.token_ids: Int32 = narrow[: batch * tokens].reshape(batch, tokens)
        self._bans: Int32 = narrow[batch * tokens :].reshape(batch, places, RECORDED_BANS)
        width = decoder.sizes.hidden_size
        self._embeds = DeviceArray.allocate(
            (batch, tokens, width), STORAGE[decoder.dtype], what=what
        )
        self._logits = decoder.logits.address(4 * batch * places * decoder.sizes.vocabulary_size)
        self._result = PinnedBytes(12 * batch * places)
        self._on_device = DeviceArray.allocate((12 * batch * places,), np.uint8, what=what)
        size = choice_scratch_bytes(batch * places, decoder.sizes.vocabulary_size)
        self._scratch = DeviceArray.zeros((size,), np.uint8, what=what)

    @property
    def inputs_embeds(self) -> Float32:
        """Embeddings [B,T,D] of what is no text token; memory of all steps."""
        shape = (self._batch, self._tokens, self._decoder.sizes.hidden_size)
        given: Float32 = self._decoder.given.view(shape, np.float32)
        return given

    def is_current(self) -> bool:
        """Whether the logits still lie where the step was bound to write them."""
        return self._moves == self._decoder.logits.moves

    def close(self) -> None:
        """Give up what is kept for the step."""
        self._bound.close()
        if self._recorded is not None:
            self._recorded.close()

    def run(self) -> Float32:
        """Logits [B,R,V] on the host; overwritten by the next run.

        Raises:
            EngineError: The run failed.
        """
        decoder = self._decoder
        shape = (self._batch, self._places, decoder.sizes.vocabulary_size)
        try:
            self._enqueue()
            logits: Float32 = decoder.downloaded.view(shape, np.float32)
            stream = decoder.device.handle
            copy_to_host(decoder.downloaded.pointer, self._logits, logits.nbytes, stream)
            decoder.device.synchronize()
        except Exception as error:
            raise engine_error(error, self._name) from error
        return logits

    def choose(self, banned: Int32) -> DeviceChoices:
        """Run, and choose from the logits on the device.

        Raises:
            EngineError: The run failed.
        """
        decoder = self._decoder
        recordable = self._bound.recordable and banned.shape[-1] <= RECORDED_BANS
        try:
            if recordable and self.token_ids.min() >= 0:
                self._bans[...] = -1
                self._bans[..., : banned.shape[-1]] = banned
                self._start_recorded()
            else:
                self._enqueue()
                self._enqueue_choice(*self._copy_bans(banned))
            decoder.device.synchronize()
        except Exception as error:
            raise engine_error(error, self._name) from error
        shape = (self._batch, self._places)
        tokens, probability, finite = self._result.array.reshape(3, -1)
        return DeviceChoices(
            tokens.view(np.int32).reshape(shape).astype(np.int64),
            finite.view(np.int32).reshape(shape).astype(bool),
            probability.view(np.float32).reshape(shape).copy(),
        )

    def _start_recorded(self) -> None:
        """Start the whole step as one CUDA graph, recorded at its second run."""
        self._prepare()
        if self._recorded is None and self._has_run and not self.recording_problem:
            try:
                self._recorded = RecordedWork(self._decoder.device, self._enqueue_all)
            except C2TError as error:  # it goes on as before
                self.recording_problem = error.problem
        if self._recorded is None:
            self._enqueue_all()
        else:
            self._recorded.start()
        self._has_run = True

    def _enqueue_all(self) -> None:
        self._enqueue_prepared(given=0)
        bans = self._inputs.pointer + self._bans.ctypes.data - self._host.pointer
        self._enqueue_choice(bans, RECORDED_BANS)

    def _copy_bans(self, banned: Int32) -> tuple[int, int]:
        """Start to copy bans of any width; their address, and how many a place has."""
        if not banned.size:
            return 0, banned.shape[-1]
        decoder = self._decoder
        decoder.bans_on_host.view(banned.shape, np.int32)[...] = banned
        address = decoder.bans.address(banned.nbytes)
        stream = decoder.device.handle
        copy_to_device(address, decoder.bans_on_host.pointer, banned.nbytes, stream)
        return address, banned.shape[-1]

    def _enqueue_choice(self, banned: int, bans: int) -> None:
        """Start the choice, and the copy of its result."""
        decoder, count = self._decoder, self._batch * self._places
        result = self._on_device.pointer
        launch_choose_tokens(
            decoder.device,
            logits=self._logits,
            dtype="float32",
            banned=banned,
            bans=bans,
            scratch=self._scratch.pointer,
            tokens=result,
            probability=result + 4 * count,
            finite=result + 8 * count,
            count=count,
            vocabulary_size=decoder.sizes.vocabulary_size,
        )
        copy_to_host(self._result.pointer, result, 12 * count, decoder.device.handle)

    def enqueue(self) -> None:
        """Start the graph alone, without copies and kernels: what a benchmark times."""
        self._bound.enqueue()

    @property
    def _name(self) -> str:
        return f"decoder failed on {self._batch} x {self._tokens} tokens"

    def _prepare(self) -> None:
        """Check and complete the integers of the step."""
        most, known = int(self.token_ids.max()), self._decoder.sizes.vocabulary_size
        if most >= known:
            problem = f"text token {most} is not among the {known}"
            raise EngineError(problem)
        np.add(self.write_index, self._tokens, out=self._kv_length)

    def _enqueue(self) -> None:
        """Start the copies of the inputs, the look-up of tokens and the graph."""
        decoder = self._decoder
        self._prepare()
        given = 0
        if self.token_ids.min() < 0:
            size = 4 * self._batch * self._tokens * decoder.sizes.hidden_size
            given = decoder.given_on_device.address(size)
            copy_to_device(given, decoder.given.pointer, size, decoder.device.handle)
        self._enqueue_prepared(given)

    def _enqueue_prepared(self, given: int) -> None:
        """`given`: address of the embeddings of what is no token; 0 where all are tokens."""
        decoder, stream = self._decoder, self._decoder.device.handle
        copy_to_device(self._inputs.pointer, self._host.pointer, self._inputs.nbytes, stream)
        launch_token_rows(
            decoder.device,
            decoder.table,
            token_ids=self._inputs.pointer + self._ids_offset,
            given=given,
            out=self._embeds.pointer,
            count=self._batch * self._tokens,
            dtype=STORAGE[decoder.dtype].name,
        )
        self._bound.enqueue()


class DeviceDecoder:
    """See `c2t.runtime.engine_protocol.DecoderEngine`.

    Args:
        device: The device.
        graph: The decoder's graph, opened on it.
        sizes: Its sizes.
        table: The text token table, on the device.
    """

    # A run over a few tokens starts no other kernels than one over one token does.
    multi_token_overhead = 0.0

    def __init__(
        self, device: CudaDevice, graph: DeviceGraph, sizes: Decoder, table: DeviceTokenTable
    ) -> None:
        self.device = device
        self.graph = graph
        self.sizes = sizes
        self.table = table
        self.dtype = graph.dtypes["inputs_embeds"]
        self.max_bit_exact_rows = graph.max_bit_exact_rows
        self._new_buffers()

    def _new_buffers(self) -> None:
        self.logits = SharedDeviceMemory("the logits")
        self.given_on_device = SharedDeviceMemory("the cell vectors")
        self.bans = SharedDeviceMemory("the n-gram ban")
        self.given, self.downloaded = SharedHostMemory(), SharedHostMemory()
        self.bans_on_host = SharedHostMemory()

    def clone(self) -> DeviceDecoder:
        """The same graph with buffers of its own; its runs share the stream."""
        other = copy.copy(self)
        other._new_buffers()
        return other

    def new_cache(self, rows: int, capacity: int) -> DeviceCache:
        """An empty cache of zeros; with more slots where the graph has a fixed number.

        Raises:
            EngineError: It does not fit into the GPU's memory, or into the graph.
        """
        fixed = self.graph.cache_capacity
        if fixed is not None and capacity > fixed:
            problem = f"the plans hold {fixed} tokens a cell; {capacity} are needed"
            raise EngineError(problem, hint="build others: `c2t build --max-new-tokens N`")
        return DeviceCache(self.device, self.sizes, self.dtype, rows, fixed or capacity)

    def bind(
        self, cache: KeyValueCache, rows: tuple[int, int], tokens: int, logit_rows: int
    ) -> DeviceStep:
        """A step over the cache rows [first, end), `tokens` per row; kept for the next call.

        Raises:
            EngineError: The GPU's memory is full, or the graph does not take such a step.
        """
        if not isinstance(cache, DeviceCache):
            message = f"a cache of another engine: {type(cache).__name__}"
            raise TypeError(message)
        key = (rows[0], rows[1], tokens, logit_rows)
        bound = cache.steps.get(key)
        if bound is not None and bound.is_current():
            cache.steps.move_to_end(key)
            return bound
        if bound is not None:
            bound.close()
        try:
            bound = DeviceStep(self, cache, key)
        except Exception as error:
            doing = f"the decoder cannot run {rows[1] - rows[0]} x {tokens} tokens"
            raise engine_error(error, doing) from error
        cache.steps[key] = bound
        if len(cache.steps) > KEPT_STEPS:
            cache.steps.popitem(last=False)[1].close()
        return bound
