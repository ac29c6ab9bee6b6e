"""What generation needs from an engine, whichever library runs the graphs.

Two decisions. A step is *bound* once for a shape (rows, tokens, logit rows) and then only run:
every array of a bound step keeps its address, so nothing is allocated per step. And a step takes
text tokens and gives the chosen ones, not embeddings and logits: on a GPU the token table and the
logits stay on the device, and a step costs one synchronisation for a few integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
NO_TOKEN = -1  # in arrays of token ids: nothing is meant


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How engines are opened.

    Args:
        threads: Threads of one graph run; None leaves the choice to the engine (all cores).
        spin: Whether idle threads wait by spinning (lower latency, but they burn a core).
        prepack: Whether weights are copied into the layout that the processor likes best: faster
            steps of several tokens, but the weights are in memory twice. False runs them from the
            mapped file. None: copy those of a graph whose data is small.
        rows: Cells or beams that will be written at the same time; a plan is built for so many.
        capacity: Cache slots that a text will need; likewise.
        device: Number of the GPU, for engines that use one.
        cuda_graph: Whether a step that is run often becomes one CUDA graph.
        graphs: A folder with other forms of the bundle's graphs (half precision) for ONNX Runtime
            on a GPU, such as a set that `c2t build --target cuda` made: one that describes the
            decoder's weights too (`c2t.runtime.engines.built.step_weights`). None: the bundle's own
            graphs.
    """

    threads: int | None = None
    spin: bool = True
    prepack: bool | None = None
    rows: int = 1
    capacity: int = 1
    device: int = 0
    cuda_graph: bool = True
    graphs: Path | None = None


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

    def clone(self) -> EncoderEngine:
        """The same weights with buffers of its own, for another thread."""
        ...


class GeneTokenEncoder(Protocol):
    """Encoder and projector on a device that embeds the genes as well."""

    def encode_genes(self, tokens: Int32) -> Float32:
        """Cell vectors [B,K,D] of gene tokens [B,S], all cells of equal length S."""
        ...

    def clone(self) -> GeneTokenEncoder:
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


class Choices(Protocol):
    """What greedy search takes next, at each of the R places of B rows; until the next run."""

    @property
    def tokens(self) -> Int64:
        """The most probable tokens that are not banned, [B,R]; the smallest id of equal ones."""
        ...

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Whether the largest logit, banned or not, is a finite number, [B,R]."""
        ...

    def probabilities(self, rows: list[int], places: list[int]) -> list[float]:
        """Softmax probabilities, before the ban, of the tokens at the named places; asked once."""
        ...


class BoundStep(Protocol):
    """One run of the decoder over T tokens of some rows of a cache.

    Fill the input arrays, call `run` or `choose`, read the result; all before another step is
    bound, which may share the arrays. Both may be called again; the result is overwritten then, and
    the caller may scribble over it before.
    """

    @property
    def token_ids(self) -> Int32:
        """Text tokens [B,T] to look up, `NO_TOKEN` where `inputs_embeds` has the row."""
        ...

    @property
    def inputs_embeds(self) -> Float32:
        """Embeddings [B,T,D] of what is no text token; the other rows are not looked at."""
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

    def choose(self, banned: Int32) -> Choices:
        """Run, and choose from the logits.

        Args:
            banned: Tokens [B,R,N] that may not be chosen, padded with `NO_TOKEN`.
        """
        ...


class DecoderEngine(Protocol):
    """The decoder graph."""

    @property
    def multi_token_overhead(self) -> float:
        """What a run over several tokens costs above one over one token, however many they are.

        A share of the latter, 0 for most engines. Drafts must be worth it.
        """
        ...

    @property
    def max_bit_exact_rows(self) -> int | None:
        """Most rows of a step whose numbers are the same to the bit, however many there are.

        Where one cell is written at a time, drafts keep a step within it, and so never change a
        text. None: nothing is known, or no number of rows was seen to change one.
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

    def clone(self) -> DecoderEngine:
        """The same weights with buffers of its own, for another thread."""
        ...


@dataclass(frozen=True)
class Engines:
    """The engines of one bundle.

    Args:
        name: What reports call them.
        encoder: Encoder and projector.
        decoder: The decoder.
        settings: How they were opened, by name, for reports.
        hint: What would be faster.
        fixed_shape: Whether they take no more rows and no more capacity than they were opened for.
    """

    name: str
    encoder: EncoderEngine | GeneTokenEncoder
    decoder: DecoderEngine
    settings: dict[str, str]
    hint: str = ""
    fixed_shape: bool = False

    @property
    def label(self) -> str:
        """Name and version, as reports say them; and on what, and how, where that is a GPU."""
        label = " ".join((self.name, self.settings.get("version", ""))).strip()
        told = ("gpu", "precision", "steps")
        where = [self.settings[key] for key in told if key in self.settings]
        return f"{label} ({'; '.join(where)})" if where else label

    def clone(self) -> Engines:
        """Engines over the same weights, for another thread."""
        return replace(self, encoder=self.encoder.clone(), decoder=self.decoder.clone())
