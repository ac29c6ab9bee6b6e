"""One run of the decoder on a GPU, whichever library runs its graph.

One decision: a step is one copy of small integers to the device, the look-up of the token rows, the
graph, the choice of tokens, and one copy of three numbers for each logit row back; all on one
stream. The host waits once, at the end. In greedy search, embeddings, keys, values and logits never
leave the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

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
from c2t.runtime.engine_protocol import NO_TOKEN, Float32, Int32, Int64
from c2t.runtime.engines.buffers import StepShape
from c2t.runtime.engines.gpu.cache import DeviceCache
from c2t.runtime.engines.gpu.graph import DeviceGraph, DeviceTensor, engine_error
from c2t.runtime.engines.gpu.memory import DeviceBuffer, PinnedBuffer
from c2t.runtime.system.errors import C2TError, EngineError
from c2t.runtime.system.tensor_files import STORAGE

# Longer runs are prompts. Each has a length of its own: a CUDA graph of it would be used once.
REPEATED_TOKENS = 64
# Most tokens of a step that has memory of its own for their embeddings. Larger ones are prompts of
# several cells, of many shapes: they share it.
OWN_EMBEDDINGS = 4096
# Banned tokens of a logit row that a recorded step has room for; a step with more is not recorded.
RECORDED_BANS = 8


@dataclass(kw_only=True, eq=False)
class StepResources:
    """What all steps of a decoder use.

    Args:
        sizes: Of the bundle's manifest.
        table: The text token table, on the device.
        dtype: Of the graph's embeddings and caches.
    """

    device: CudaDevice
    sizes: Decoder
    table: DeviceTokenTable
    dtype: str
    embeds: DeviceBuffer = field(default_factory=lambda: DeviceBuffer("the embeddings of prompts"))
    logits: DeviceBuffer = field(default_factory=lambda: DeviceBuffer("the logits"))
    logits_on_host: PinnedBuffer = field(default_factory=PinnedBuffer)
    vectors: DeviceBuffer = field(default_factory=lambda: DeviceBuffer("the cell vectors"))
    vectors_on_host: PinnedBuffer = field(default_factory=PinnedBuffer)
    bans: DeviceBuffer = field(default_factory=lambda: DeviceBuffer("the n-gram ban"))
    bans_on_host: PinnedBuffer = field(default_factory=PinnedBuffer)

    def clone(self) -> StepResources:
        """The same device and weights with buffers of its own."""
        return StepResources(
            device=self.device, sizes=self.sizes, table=self.table, dtype=self.dtype
        )


@dataclass(frozen=True, eq=False)
class DeviceChoices:
    """See `c2t.runtime.engine_protocol.Choices`; copies on the host."""

    tokens: Int64
    finite: NDArray[np.bool_]
    all_probabilities: Float32

    def probabilities(self, rows: Int64, logit_rows: Int64) -> Float32:
        """Softmax probabilities [M] of the chosen tokens at M logit rows."""
        probabilities: Float32 = self.all_probabilities[rows, logit_rows]
        return probabilities


class DeviceStep:
    """A bound run over the batch rows [first, end) of a cache.

    See `c2t.runtime.engine_protocol.BoundStep`.

    Args:
        graph: The decoder's graph.
        resources: What the steps of the decoder share.
        shape: What of it to run, and how many tokens.

    Raises:
        EngineError: The graph does not take such a step.
        DeviceMemoryError: The GPU's memory is full.
    """

    def __init__(
        self, graph: DeviceGraph, resources: StepResources, cache: DeviceCache, shape: StepShape
    ) -> None:
        first, end, tokens, wanted = shape  # `wanted`: logit rows of a batch row
        self._shared = resources
        self._batch, self._tokens, self._wanted = end - first, tokens, wanted
        self._kept = cache.buffer  # the graph is bound to its addresses
        self._allocate()
        sizes, dtype = resources.sizes, resources.dtype
        integers = self._inputs.pointer
        tensors = {
            "inputs_embeds": DeviceTensor(
                self._embeds, (self._batch, tokens, sizes.hidden_size), dtype
            ),
            "logits": DeviceTensor(
                self._logits, (self._batch, wanted, sizes.vocabulary_size), "float32"
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
        self._bound = graph.bind(tensors, repeated=tokens <= REPEATED_TOKENS)
        self._moves = self._buffer_moves
        self._has_run = False
        self._recorded: RecordedWork | None = None
        self.recording_problem = ""  # why the step was not recorded although it should be

    def _allocate(self) -> None:
        """Allocate the step's own memory: integers on both sides, embeddings, and the choice."""
        shared, batch, tokens, wanted = self._shared, self._batch, self._tokens, self._wanted
        shapes = ((batch, tokens), (batch,), (batch,), (batch, wanted))
        int64_bytes = 8 * sum(math.prod(shape) for shape in shapes)
        bans = batch * wanted * RECORDED_BANS
        size = int64_bytes + 4 * (batch * tokens + bans)
        self._host = PinnedBytes(size)
        what = f"a step of {batch} x {tokens} tokens"
        self._inputs = DeviceArray.allocate((size,), np.uint8, what=what)
        int64s: Int64 = self._host.array[:int64_bytes].view(np.int64)
        parts = np.split(int64s, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        self.position_ids: Int64 = arrays[0]
        self.write_index: Int64 = arrays[1]
        self._kv_length: Int64 = arrays[2]
        self.logit_rows: Int64 = arrays[3]
        self._ids_offset = int64_bytes
        int32s: Int32 = self._host.array[int64_bytes:].view(np.int32)
        self.token_ids: Int32 = int32s[: batch * tokens].reshape(batch, tokens)
        self._bans: Int32 = int32s[batch * tokens :].reshape(batch, wanted, RECORDED_BANS)
        self._shape = (batch, tokens, shared.sizes.hidden_size)
        if self._is_large:
            size = math.prod(self._shape) * STORAGE[shared.dtype].itemsize
            self._embeds = shared.embeds.address(size)
        else:
            self._own_embeds = DeviceArray.allocate(self._shape, STORAGE[shared.dtype], what=what)
            self._embeds = self._own_embeds.pointer
        self._logits = shared.logits.address(4 * batch * wanted * shared.sizes.vocabulary_size)
        self._result = PinnedBytes(12 * batch * wanted)
        self._on_device = DeviceArray.allocate((12 * batch * wanted,), np.uint8, what=what)
        size = choice_scratch_bytes(batch * wanted, shared.sizes.vocabulary_size)
        self._scratch = DeviceArray.zeros((size,), np.uint8, what=what)

    @property
    def inputs_embeds(self) -> Float32:
        """Embeddings [B,T,D] where `token_ids` is `NO_TOKEN`; in memory that all steps share."""
        return self._shared.vectors_on_host.view(self._shape)

    def is_current(self) -> bool:
        """Whether logits and embeddings still lie where the step was bound to them."""
        return self._moves == self._buffer_moves

    @property
    def _is_large(self) -> bool:
        return self._batch * self._tokens > OWN_EMBEDDINGS

    @property
    def _buffer_moves(self) -> tuple[int, int]:
        shared = self._shared
        return shared.logits.moves, shared.embeds.moves if self._is_large else 0

    def close(self) -> None:
        """Free the CUDA graphs of the step."""
        self._bound.close()
        if self._recorded is not None:
            self._recorded.close()

    def run(self) -> Float32:
        """Logits [B,R,V] on the host; overwritten by the next run.

        Raises:
            EngineError: The run failed.
        """
        shared = self._shared
        shape = (self._batch, self._wanted, shared.sizes.vocabulary_size)
        try:
            self._enqueue()
            logits: Float32 = shared.logits_on_host.view(shape)
            stream = shared.device.handle
            copy_to_host(shared.logits_on_host.pointer, self._logits, logits.nbytes, stream)
            shared.device.synchronize()
        except C2TError as error:
            raise engine_error(error, self._name) from error
        return logits

    def choose(self, banned: Int32) -> DeviceChoices:
        """Run, and choose from the logits on the device.

        Raises:
            EngineError: The run failed.
        """
        recordable = self._bound.recordable and banned.shape[-1] <= RECORDED_BANS
        try:
            if recordable and self.token_ids.min() >= 0:
                self._bans[...] = NO_TOKEN
                self._bans[..., : banned.shape[-1]] = banned
                self._start_recorded()
            else:
                self._enqueue()
                self._enqueue_choice(*self._copy_bans(banned))
            self._shared.device.synchronize()
        except C2TError as error:
            raise engine_error(error, self._name) from error
        shape = (self._batch, self._wanted)
        tokens, probability, finite = self._result.array.reshape(3, -1)
        return DeviceChoices(
            tokens.view(np.int32).reshape(shape).astype(np.int64),
            finite.view(np.int32).reshape(shape).astype(bool),
            probability.view(np.float32).reshape(shape).copy(),
        )

    def _start_recorded(self) -> None:
        """Start the whole step as one CUDA graph, which is recorded at its second run."""
        self._prepare()
        if self._recorded is None and self._has_run and not self.recording_problem:
            try:
                self._recorded = RecordedWork(self._shared.device, self._enqueue_all)
            except C2TError as error:  # the step goes on piece by piece
                self.recording_problem = error.problem
        if self._recorded is None:
            self._enqueue_all()
        else:
            self._recorded.start()
        self._has_run = True

    def _enqueue_all(self) -> None:
        self._enqueue_prepared(vectors=0)
        bans = self._inputs.pointer + self._bans.ctypes.data - self._host.pointer
        self._enqueue_choice(bans, RECORDED_BANS)

    def _copy_bans(self, banned: Int32) -> tuple[int, int]:
        """Start to copy any number of bans; returns their address and the bans of a logit row."""
        if not banned.size:
            return 0, banned.shape[-1]
        shared = self._shared
        shared.bans_on_host.view(banned.shape, np.int32)[...] = banned
        address = shared.bans.address(banned.nbytes)
        stream = shared.device.handle
        copy_to_device(address, shared.bans_on_host.pointer, banned.nbytes, stream)
        return address, banned.shape[-1]

    def _enqueue_choice(self, banned: int, bans: int) -> None:
        """Start the choice, and the copy of its result."""
        shared, count = self._shared, self._batch * self._wanted
        result = self._on_device.pointer
        launch_choose_tokens(
            shared.device,
            logits=self._logits,
            dtype="float32",
            banned=banned,
            bans=bans,
            scratch=self._scratch.pointer,
            tokens=result,
            probability=result + 4 * count,
            finite=result + 8 * count,
            count=count,
            vocabulary_size=shared.sizes.vocabulary_size,
        )
        copy_to_host(self._result.pointer, result, 12 * count, shared.device.handle)

    def enqueue(self) -> None:
        """Start the graph alone, without copies and kernels: what a benchmark times."""
        self._bound.enqueue()

    @property
    def _name(self) -> str:
        return f"decoder failed on {self._batch} x {self._tokens} tokens"

    def _prepare(self) -> None:
        """Check the inputs, and write the lengths of keys and values.

        Raises:
            EngineError: A text token outside the vocabulary.
            ValueError: The graph takes no such `logit_rows`.
        """
        largest, vocabulary = int(self.token_ids.max()), self._shared.sizes.vocabulary_size
        if largest >= vocabulary:
            problem = f"text token {largest} is not among the {vocabulary}"
            raise EngineError(problem, hint="run `c2t verify BUNDLE`, or export the bundle again")
        if self._bound.last_logit_rows:
            last = np.arange(self._tokens - self._wanted, self._tokens)
            if (self.logit_rows != last).any():
                message = f"{self._name}: other logits are wanted than those of the last tokens"
                raise ValueError(message)
        np.add(self.write_index, self._tokens, out=self._kv_length)

    def _enqueue(self) -> None:
        """Start the copies of the inputs, the look-up of tokens and the graph."""
        shared = self._shared
        self._prepare()
        vectors = 0
        if self.token_ids.min() < 0:
            size = 4 * self._batch * self._tokens * shared.sizes.hidden_size
            vectors = shared.vectors.address(size)
            stream = shared.device.handle
            copy_to_device(vectors, shared.vectors_on_host.pointer, size, stream)
        self._enqueue_prepared(vectors)

    def _enqueue_prepared(self, vectors: int) -> None:
        """Start the copy of the integers, the look-up of tokens and the graph.

        Args:
            vectors: Address of `inputs_embeds` on the device; 0 where all are text tokens.
        """
        shared, stream = self._shared, self._shared.device.handle
        copy_to_device(self._inputs.pointer, self._host.pointer, self._inputs.nbytes, stream)
        launch_token_rows(
            shared.device,
            shared.table,
            token_ids=self._inputs.pointer + self._ids_offset,
            given=vectors,
            out=self._embeds,
            count=self._batch * self._tokens,
            dtype=STORAGE[shared.dtype].name,
        )
        self._bound.enqueue()
