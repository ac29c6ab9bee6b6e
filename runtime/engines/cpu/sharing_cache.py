"""The cache of our step kernel: batch rows that begin alike share the keys and values of that.

One decision: a prompt's constant beginning is read where it was saved. Much of what a short text
needs is its beginning, which would else lie in memory once more for every batch row.
"""

from __future__ import annotations

import numpy as np

from c2t.kernels.decoder_step.cpu import SharedPrefix
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import Float32, Int64, SavedPrefix
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeCache


class Sharing:
    """Which first positions of a cache's batch rows lie outside it. Steps keep it, not the cache.

    Args:
        buffer: Of the cache [L,2,B,KV,C,head_size].

    Attributes:
        prefix: What the kernel reads outside the cache; None before a beginning is loaded. The
            first one is the one that is shared.
        lengths: [B] how many positions of it each batch row has.
    """

    def __init__(self, buffer: Float32) -> None:
        self.buffer = buffer
        self.prefix: SharedPrefix | None = None
        self.lengths: Int64 = np.zeros(buffer.shape[2], np.int64)

    def own(self, row: int, start: int) -> None:
        """Copy to the cache what a batch row shares at positions from `start` on."""
        end = int(self.lengths[row])
        if self.prefix is not None and start < end:
            part = slice(start, end)
            self.buffer[:, :, row, :, part] = self.prefix.keys_values[:, :, :, part]
            self.lengths[row] = start

    def own_written(self, first: int, write_index: Int64) -> None:
        """Have batch rows from `first` on share nothing from where a step writes to them."""
        if self.prefix is None:
            return
        below = write_index < self.lengths[first : first + len(write_index)]
        if 1 in below.tobytes():  # a tenth of the time of any()
            for row in np.flatnonzero(below).tolist():
                self.own(first + row, int(write_index[row]))


class SharingCache(OnnxRuntimeCache):
    """An `OnnxRuntimeCache` that lacks what its batch rows share.

    Args:
        sizes: Of the bundle's manifest.
        rows: B.
        capacity: Most cache positions of a batch row.
        positions: Those that have memory from the beginning.

    Attributes:
        sharing: What its steps need of it.
    """

    def __init__(self, sizes: Decoder, rows: int, capacity: int, positions: int) -> None:
        super().__init__(sizes, rows, capacity, positions)
        self.sharing = Sharing(self.buffer)

    def make_room(self, positions: int) -> None:
        """See `c2t.runtime.engine_protocol.KeyValueCache.make_room`."""
        super().make_room(positions)
        self.sharing.buffer = self.buffer

    def load(self, row: int, prefix: SavedPrefix, length: int | None = None) -> None:
        """See `c2t.runtime.engine_protocol.KeyValueCache.load`."""
        sharing = self.sharing
        if sharing.prefix is None:
            sharing.prefix = SharedPrefix(keys_values=prefix.state, lengths=sharing.lengths)
            self.steps.clear()  # which do not know of it
        if prefix.state is sharing.prefix.keys_values:
            length = prefix.length if length is None else length
            sharing.lengths[row] = max(length, sharing.lengths[row])
        else:
            sharing.own(row, 0)
            super().load(row, prefix, length)

    def save(self, row: int, length: int) -> SavedPrefix:
        """See `c2t.runtime.engine_protocol.KeyValueCache.save`."""
        self.sharing.own(row, 0)
        return super().save(row, length)

    def put(self, row: int, keys_values: Float32) -> None:
        """See `c2t.runtime.engine_protocol.KeyValueCache.put`."""
        self.sharing.own(row, 0)
        super().put(row, keys_values)

    def gather(self, sources: list[int], start: int, stop: int) -> None:
        """See `c2t.runtime.engine_protocol.KeyValueCache.gather`."""
        targets = [row for row, source in enumerate(sources) if row != source]
        if targets and start < stop:
            origins = [sources[row] for row in targets]
            lengths, rows = self.sharing.lengths, sorted({*targets, *origins})
            longest = int(lengths[rows].max())
            if start == 0 and longest <= stop:
                # What is shared moves with its length; behind it lies what is a row's own.
                start = int(lengths[origins].min())
                lengths[targets] = lengths[origins]
            elif start < longest:
                for row in rows:
                    self.sharing.own(row, start)
        super().gather(sources, start, stop)
