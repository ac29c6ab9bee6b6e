"""What describing needs from an engine, whichever library runs the graphs.

Two decisions. A step is *bound* once for a shape (batch rows, tokens, logit rows) and then only
run: every array of a bound step keeps its address, so nothing is allocated per step. And a step
takes text tokens and gives the chosen ones, not embeddings and logits. So on a GPU the token table
and the logits stay on the device, and a step costs one synchronisation for a few integers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
NO_TOKEN = -1  # in arrays of token ids: no token
# Most gene tokens of an encoder batch of several cells. Measured on a CPU: a batch takes as long as
# its cells one by one, from 32 genes to 512. Larger ones only hold more attention scores in memory
# (1.6 GB for 8 cells at Geneformer V2's sizes). Engines on a GPU may take more.
ENCODER_BATCH_TOKENS = 512

# Most tokens of a run over a prompt, without what follows it: memory for attention scores and
# activations grows with the tokens of a run. Cell2Text's prompts are shorter.
PIECE_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How engines are opened.

    Args:
        threads: Threads of one graph run and of the gene embedding; None: all cores.
        spin: Whether idle threads wait by spinning (lower latency, but they burn a core).
        prepack: Whether weights are copied into the layout that the processor reads fastest. Steps
            of several tokens are faster then, but the copy is no memory that others share. False
            runs them from the mapped file. None: copy those of a graph whose data is small; for our
            kernel of the decoder's steps, whose copy is the only one, also those that half of the
            free memory holds.
        step_kernel: Whether the decoder's steps on a CPU may run on our own kernel; it is not used
            where weights are not copied (`prepack`).
        encoder_kernel: Likewise for the layers of an INT8 bundle's encoder.
        rows: Cells or beams that will be written at the same time; a plan must be built for them.
        capacity: Cache positions that a text will need; a plan must be built for them.
        device: Number of the GPU, for engines that use one.
        cuda_graph: Whether a step that is run often becomes one CUDA graph.
        graphs: A folder with half-precision graphs for ONNX Runtime on a GPU, as `c2t build
            --target cuda` makes it (`c2t.runtime.engines.built.half_graphs`). None: the newest that
            was built of the bundle, else its own graphs.
    """

    threads: int | None = None
    spin: bool = True
    prepack: bool | None = None
    step_kernel: bool = True
    encoder_kernel: bool = True
    rows: int = 1
    capacity: int = 1
    device: int = 0
    cuda_graph: bool = True
    graphs: Path | None = None


@dataclass(frozen=True)
class SavedPrefix:
    """Keys and values of the first `length` cache positions of one batch row.

    Only the engine that saved them knows what `state` is.
    """

    length: int
    state: Any


class EncoderEngine(Protocol):
    """Gene embedding, encoder and projector."""

    @property
    def batch_tokens(self) -> int:
        """Most gene tokens of a run over several cells."""
        ...

    def encode(self, tokens: Int32) -> Float32:
        """Cell vectors [B,K,D] of gene tokens [B,S], all cells of equal length S.

        Raises:
            EngineError: A run failed.
        """
        ...

    def encode_with_hidden(self, tokens: Int32) -> tuple[Float32, Float32]:
        """The same, and the encoder's own output [B,k,H] that the projector has read.

        k is what the encoder's graph keeps: the first min(S, rows) gene tokens.

        Raises:
            EngineError: A run failed.
        """
        ...

    def clone(self) -> EncoderEngine:
        """The same weights with buffers of its own, for another thread."""
        ...


class KeyValueCache(Protocol):
    """Keys and values of all layers for B batch rows of at most C tokens each."""

    @property
    def rows(self) -> int:
        """B."""
        ...

    @property
    def capacity(self) -> int:
        """C, the cache positions of a batch row."""
        ...

    def make_room(self, positions: int) -> None:
        """Have memory for the first so many cache positions, at most `capacity`.

        What they hold is kept. A step that was bound before may have lost its memory: bind again.

        Raises:
            EngineError: There is no memory for it.
        """
        ...

    def save(self, row: int, length: int) -> SavedPrefix:
        """A copy of the first `length` cache positions of a batch row."""
        ...

    def load(self, row: int, prefix: SavedPrefix, length: int | None = None) -> None:
        """Write a saved prefix to the first cache positions of a batch row.

        Args:
            row: The batch row.
            prefix: What was saved.
            length: How many positions of it, for which there must be room; None: all.
        """
        ...

    def put(self, row: int, keys_values: Float32) -> None:
        """Write keys and values to the first cache positions of a batch row.

        Args:
            row: The batch row.
            keys_values: [L,2,KV,P,head_size] of P cache positions, from outside the engine.

        Raises:
            EngineError: There is no memory for them.
        """
        ...

    def gather(self, sources: list[int], start: int, stop: int) -> None:
        """Give batch row i what row `sources[i]` had at [start, stop) before the call."""
        ...


class Choices(Protocol):
    """The tokens that greedy search takes next, at R logit rows of B batch rows.

    Valid until the next run.
    """

    @property
    def tokens(self) -> Int64:
        """The most probable tokens [B,R] that are not banned; of equal ones the smallest id."""
        ...

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Whether the largest logit, banned or not, is a finite number, [B,R]."""
        ...

    def probabilities(self, rows: Int64, logit_rows: Int64) -> Floats:
        """Softmax probabilities [M], before the ban, of the chosen tokens at M logit rows.

        Args:
            rows: [M] batch rows.
            logit_rows: [M] the logit row of each.

        May be called once: it may use up the logits.
        """
        ...


class BoundStep(Protocol):
    """One run of the decoder over T tokens of each of some batch rows of a cache.

    Fill the input arrays, call `run` or `choose`, and read the result before another step is bound:
    steps may share their arrays. Both may be called again, which overwrites the result; the caller
    may change the result before.
    """

    @property
    def token_ids(self) -> Int32:
        """Text tokens [B,T] to look up; `NO_TOKEN` where `inputs_embeds` holds the embedding."""
        ...

    @property
    def inputs_embeds(self) -> Float32:
        """Embeddings [B,T,D] where `token_ids` is `NO_TOKEN`; ignored elsewhere."""
        ...

    @property
    def position_ids(self) -> Int64:
        """Positions [B,T]."""
        ...

    @property
    def write_index(self) -> Int64:
        """Cache position [B] of the first of the T tokens; at most the capacity less T."""
        ...

    @property
    def logit_rows(self) -> Int64:
        """Which of the T tokens want logits, [B,R]; of a long run an engine takes the last R."""
        ...

    def run(self) -> Float32:
        """Logits [B,R,V]; the tokens' keys and values are in the cache afterwards.

        Raises:
            EngineError: The run failed.
        """
        ...

    def choose(self, banned: Int32) -> Choices:
        """Run, and choose from the logits.

        Args:
            banned: Tokens [B,R,N] that may not be chosen, padded with `NO_TOKEN`.

        Raises:
            EngineError: The run failed.
        """
        ...


class DecoderEngine(Protocol):
    """The decoder graph."""

    @property
    def multi_token_overhead(self) -> float:
        """Extra cost of a step of several tokens, however many, as a share of a step of one.

        0 for most engines. Drafts must save more than that.
        """
        ...

    @property
    def max_bit_exact_rows(self) -> int | None:
        """Most tokens of a step (over all batch rows) that give the same bits as one token does.

        Where one cell is written at a time, drafts keep a step within this limit, so that they
        never change a text. None: there is no known limit.
        """
        ...

    @property
    def prompt_batch_tokens(self) -> int:
        """Most tokens of a run over the prompts of several cells; 0: each prompt is a run.

        A CPU takes as long for several prompts as for one after another. A GPU does not: a run over
        one prompt leaves most of it idle.
        """
        ...

    def new_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """A cache of zeros: masked positions are multiplied by zero, so they must be finite.

        Raises:
            EngineError: There is no memory for it, or the engine was not built for the capacity.
        """
        ...

    def growing_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """The same for an engine whose cost grows with the memory behind a cache.

        It has no memory before `KeyValueCache.make_room`, which must come before each use.

        Raises:
            EngineError: See `new_cache`.
        """
        ...

    def bind(
        self, cache: KeyValueCache, rows: tuple[int, int], tokens: int, logit_rows: int
    ) -> BoundStep:
        """A step over the batch rows [first, end) of a cache; kept for the next call.

        Args:
            cache: A cache of this engine.
            rows: First batch row, and the one after the last.
            tokens: T of each batch row.
            logit_rows: R of each batch row.

        Raises:
            EngineError: There is no memory for it, or the engine does not take such a step.
        """
        ...

    def clone(self) -> DecoderEngine:
        """The same weights with buffers of its own, for another thread."""
        ...


@dataclass(frozen=True)
class Engines:
    """The engines of one bundle.

    Args:
        name: What reports call them.
        encoder: Encoder and projector.
        settings: How they were opened, by name, for reports.
        hint: What would be faster.
        fixed_shape: Whether they take no more rows and no more capacity than they were opened for.
        exclusive: Held by a thread while it uses an encoder, a decoder or a clone of them. On a
            GPU it keeps the others out; on the CPU they may all run.
    """

    name: str
    encoder: EncoderEngine
    decoder: DecoderEngine
    settings: dict[str, str]
    hint: str = ""
    fixed_shape: bool = False
    exclusive: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def label(self) -> str:
        """Name and version for reports; also GPU, precision, steps and attention, where stated."""
        label = " ".join((self.name, self.settings.get("version", ""))).strip()
        shown = ("gpu", "precision", "steps", "attention")
        where = [self.settings[key] for key in shown if key in self.settings]
        return f"{label} ({'; '.join(where)})" if where else label

    def clone(self) -> Engines:
        """Engines over the same weights, for another thread."""
        return replace(self, encoder=self.encoder.clone(), decoder=self.decoder.clone())
