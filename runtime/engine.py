"""What generation needs from an engine, whichever library runs the graphs.

One decision: a step is *bound* once for a shape (rows, tokens, logit rows) and then only run. Every
array of a bound step keeps its address, so nothing is allocated or copied per step; an engine on a
GPU gives pinned host arrays and copies inside `run`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How engines are opened.

    Args:
        threads: Threads of one graph run; None leaves the choice to the engine (all cores).
        spin: Whether idle threads wait by spinning (lower latency, but they burn a core).
        prepack: Whether weights are copied into the layout that the processor likes best: faster
            steps of several tokens, but the weights are in memory twice. False runs them from the
            mapped file. None: copy those of a graph whose data is small.
    """

    threads: int | None = None
    spin: bool = True
    prepack: bool | None = None


@dataclass(frozen=True)
class SavedPrefix:
    """Keys and values of the first `length` cache slots of one row, in the engine's own form."""

    length: int
    state: Any


class EncoderEngine(Protocol):
    """Encoder and projector graphs."""

    def input_buffer(self, batch: int, length: int) -> Float32:
        """The array [B,S,H] to write embeddings into; valid until the next call."""
        ...

    def encode(self, embeddings: Float32) -> Float32:
        """Cell vectors [B,K,D] of embeddings [B,S,H], all cells of equal length S."""
        ...

    def twin(self) -> EncoderEngine:
        """The same weights with buffers of its own, for another thread."""
        ...


class KeyValueCache(Protocol):
    """Keys and values of all layers for `rows` sequences of at most `capacity` tokens."""

    @property
    def rows(self) -> int:
        """Rows of the buffers."""
        ...

    @property
    def capacity(self) -> int:
        """Tokens a row can hold."""
        ...

    def save(self, row: int, length: int) -> SavedPrefix:
        """A copy of the first `length` slots of a row."""
        ...

    def load(self, row: int, prefix: SavedPrefix) -> None:
        """Write a saved prefix to the first slots of a row."""
        ...

    def gather(self, sources: list[int], start: int, stop: int) -> None:
        """Give row i the slots [start, stop) that row `sources[i]` had before the call."""
        ...


class BoundStep(Protocol):
    """One run of the decoder over T tokens of some rows of a cache.

    Fill the four input arrays, call `run`, read the logits; all before another step is bound, which
    may share the arrays. `run` may be called again; its result is overwritten then, and the caller
    may scribble over it before.
    """

    @property
    def inputs_embeds(self) -> Float32:
        """Embeddings [B,T,D] of the tokens; rows with fewer real tokens are padded on the right."""
        ...

    @property
    def position_ids(self) -> Int64:
        """Positions [B,T]."""
        ...

    @property
    def write_index(self) -> Int64:
        """Cache slot [B] of the first of the T tokens; slot + T may not exceed the capacity."""
        ...

    @property
    def logit_rows(self) -> Int64:
        """Which of the T tokens' logits are wanted, [B,R]."""
        ...

    def run(self) -> Float32:
        """Logits [B,R,V]; the tokens' keys and values are in the cache afterwards."""
        ...


class DecoderEngine(Protocol):
    """The decoder graph."""

    @property
    def surcharge(self) -> float:
        """What a run over several tokens costs above one over one token, however many they are.

        A share of the latter, 0 for most engines. Drafts must be worth it.
        """
        ...

    def new_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """An empty cache, all zeros (masked slots are multiplied by zero: they must be finite)."""
        ...

    def bind(
        self, cache: KeyValueCache, rows: tuple[int, int], tokens: int, logit_rows: int
    ) -> BoundStep:
        """A step over the cache rows [first, end), `tokens` per row; kept for the next call."""
        ...

    def twin(self) -> DecoderEngine:
        """The same weights with buffers of its own, for another thread."""
        ...


@dataclass(frozen=True)
class Engines:
    """The engines of one bundle, and what to call them in a report."""

    name: str
    encoder: EncoderEngine
    decoder: DecoderEngine
    settings: dict[str, str]

    @property
    def label(self) -> str:
        """Name and version, as reports say them."""
        return " ".join((self.name, self.settings.get("version", ""))).strip()

    def twin(self) -> Engines:
        """Engines over the same weights, for another thread."""
        return replace(self, encoder=self.encoder.twin(), decoder=self.decoder.twin())
