"""A decoder without a graph: its logits rest on all tokens that a batch row of its cache holds.

One decision: what a cell's text is depends on its prompt and its place in the text. So a step that
reads another cell's row, or the right one at another position, gives another text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from c2t.runtime.engine_protocol import NO_TOKEN, Float32, Int32, Int64, SavedPrefix
from c2t.runtime.engines.cpu.logit_choices import LogitChoices
from c2t.runtime.system.errors import EngineError

PLACES = 64  # after so many cache positions, what a text rests on comes again


class FakeCache:
    """See `c2t.runtime.engine_protocol.KeyValueCache`: the tokens of each batch row."""

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.tokens: Int32 = np.zeros((rows, capacity), np.int32)
        self.room = 0

    def make_room(self, positions: int) -> None:
        """See `KeyValueCache.make_room`."""
        assert positions <= self.capacity
        self.room = max(self.room, positions)

    def save(self, row: int, length: int) -> SavedPrefix:
        """See `KeyValueCache.save`."""
        return SavedPrefix(length, self.tokens[row, :length].copy())

    def load(self, row: int, prefix: SavedPrefix, length: int | None = None) -> None:
        """See `KeyValueCache.load`."""
        length = prefix.length if length is None else length
        self.tokens[row, :length] = prefix.state[:length]

    def put(self, row: int, keys_values: Float32) -> None:
        """See `KeyValueCache.put`; no prefix is stored here."""
        raise NotImplementedError

    def gather(self, sources: list[int], start: int, stop: int) -> None:
        """See `KeyValueCache.gather`."""
        self.tokens[:, start:stop] = self.tokens[sources, start:stop]


@dataclass(kw_only=True, eq=False)
class FakeDecoder:
    """See `c2t.runtime.engine_protocol.DecoderEngine`.

    Args:
        seed: Of its logits.
        vocabulary_size: V.
        odd: How many of 1000 logit rows are not finite.
        broken: How many of 1000 runs over several cells' prompts fail.
        runs: Batch rows and tokens of each run so far.
        banned: For each choice so far the tokens that were banned at each place, sorted.
    """

    seed: int
    vocabulary_size: int
    multi_token_overhead: float = 0.0
    max_bit_exact_rows: int | None = None
    prompt_batch_tokens: int = 0
    odd: int = 0
    broken: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)
    banned: list[list[list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        draw = np.random.default_rng(self.seed)
        size = self.vocabulary_size
        self.of_token: Float32 = 6 * draw.standard_normal((size, size), np.float32)
        self.of_place: Float32 = 2 * draw.standard_normal((PLACES, size), np.float32)
        self.of_cell: Float32 = draw.standard_normal((97, size), np.float32)

    def new_cache(self, rows: int, capacity: int) -> FakeCache:
        """See `DecoderEngine.new_cache`."""
        return FakeCache(rows, capacity)

    def growing_cache(self, rows: int, capacity: int) -> FakeCache:
        """See `DecoderEngine.growing_cache`."""
        return FakeCache(rows, capacity)

    def bind(
        self, cache: FakeCache, rows: tuple[int, int], tokens: int, logit_rows: int
    ) -> FakeStep:
        """See `DecoderEngine.bind`."""
        return FakeStep(self, cache, rows, tokens, logit_rows)

    def clone(self) -> FakeDecoder:
        """See `DecoderEngine.clone`."""
        raise NotImplementedError


class FakeStep:
    """See `c2t.runtime.engine_protocol.BoundStep`."""

    def __init__(
        self,
        decoder: FakeDecoder,
        cache: FakeCache,
        rows: tuple[int, int],
        tokens: int,
        logit_rows: int,
    ) -> None:
        self._decoder, self._cache, self._rows = decoder, cache, rows
        batch = rows[1] - rows[0]
        self.token_ids: Int32 = np.full((batch, tokens), -5, np.int32)
        self.inputs_embeds: Float32 = np.zeros((batch, tokens, 1), np.float32)
        self.position_ids: Int64 = np.zeros((batch, tokens), np.int64)
        self.write_index: Int64 = np.zeros(batch, np.int64)
        self.logit_rows: Int64 = np.zeros((batch, logit_rows), np.int64)
        self._logits: Float32 = np.zeros((batch, logit_rows, decoder.vocabulary_size), np.float32)

    def run(self) -> Float32:
        """See `BoundStep.run`."""
        decoder, cache = self._decoder, self._cache
        batch, tokens = self.token_ids.shape
        decoder.runs.append((batch, tokens))
        assert cache.room >= self.write_index.max() + tokens or cache.room == 0
        vectors = self.inputs_embeds[:, :, 0].astype(np.int32)
        given = np.where(self.token_ids < 0, vectors, self.token_ids)
        if batch > 1 and self.write_index.min() == 0 and given.sum() % 1000 < decoder.broken:
            problem = "too many cells"
            raise EngineError(problem, hint="none")
        for number in range(batch):
            row, start = self._rows[0] + number, int(self.write_index[number])
            assert (self.position_ids[number] == np.arange(start, start + tokens)).all()
            cache.tokens[row, start : start + tokens] = given[number]
            for place, of in enumerate(self.logit_rows[number].tolist()):
                self._logits[number, place] = self._of(cache.tokens[row, : start + of + 1])
        return self._logits

    def _of(self, before: Int32) -> Float32:
        """Logits [V] behind tokens."""
        decoder = self._decoder
        cell, place = int(before[:6].sum()) % 97, len(before) % PLACES
        logits: Float32 = decoder.of_token[before[-1]] + decoder.of_place[place]
        logits = logits + decoder.of_cell[cell] + 0.1 * decoder.of_token[before[len(before) // 2]]
        if hash((cell, place, int(before[-1]))) % 1000 < decoder.odd:
            logits[place % len(logits)] = np.nan
        return logits

    def choose(self, banned: Int32) -> LogitChoices:
        """See `BoundStep.choose`."""
        assert banned.shape[:2] == self.logit_rows.shape
        places = banned.reshape(self.logit_rows.size, banned.shape[-1]).tolist()
        self._decoder.banned.append(
            [sorted(token for token in place if token != NO_TOKEN) for place in places]
        )
        return LogitChoices(self.run()).choose(banned)
