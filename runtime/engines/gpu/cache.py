"""Keys and values on the device: one array for all layers, as on the host.

One decision: rows are saved, loaded and moved by the driver's own strided copies, which need no
kernel: a row is L*2 blocks of KV heads, each a stretch of neighbouring slots.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import Blocks, DeviceArray, copy_blocks
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import SavedPrefix
from c2t.runtime.engines.gpu.graph import STORAGE, DeviceTensor, engine_error
from c2t.runtime.system.errors import C2TError

if TYPE_CHECKING:
    from c2t.runtime.engines.gpu.decoder import DeviceStep


class DeviceCache:
    """KV buffers [L,2,B,KV,C,head]; see `c2t.runtime.engine_protocol.KeyValueCache`.

    Raises:
        EngineError: They do not fit into the GPU's memory.
    """

    def __init__(
        self, device: CudaDevice, sizes: Decoder, dtype: str, rows: int, capacity: int
    ) -> None:
        self.rows = rows
        self.capacity = capacity
        self.steps: OrderedDict[tuple[int, int, int, int], DeviceStep] = OrderedDict()
        self._device = device
        self._sizes = sizes
        self._dtype = dtype
        shape = (sizes.layers, 2, rows, sizes.kv_heads, capacity, sizes.head_size)
        what = f"the keys and values of {rows} cells x {capacity} tokens"
        try:
            # Zeros: masked slots are multiplied by zero, so they must be finite.
            self.buffer = DeviceArray.zeros(shape, STORAGE[dtype], what=what)
            self._scratch: DeviceArray | None = None
        except C2TError as error:
            raise engine_error(error, "the decoder's cache") from error
        self._slot = sizes.head_size * STORAGE[dtype].itemsize  # bytes
        self._row = sizes.kv_heads * capacity * self._slot

    def tensors(self, first: int, end: int) -> dict[str, DeviceTensor]:
        """The rows [first, end) as a graph reads and writes them, in place, by its names."""
        sizes = self._sizes
        shape = (end - first, sizes.kv_heads, self.capacity, sizes.head_size)
        found = {}
        for number, name in enumerate(sizes.cache_names):
            address = self.buffer.pointer + (number * self.rows + first) * self._row
            tensor = DeviceTensor(address, shape, self._dtype)
            found[f"past_{name}"] = found[f"present_{name}"] = tensor
        return found

    def save(self, row: int, length: int) -> SavedPrefix:
        """A copy of the first `length` slots of a row, on the device."""
        try:
            saved = self._new_row(length)
            self._copy(self._packed(saved, length), self._place(row, 0), length)
        except C2TError as error:
            raise engine_error(error, "saving the prompt's prefix") from error
        return SavedPrefix(length, saved)

    def load(self, row: int, prefix: SavedPrefix) -> None:
        """Write a saved prefix to the first slots of a row."""
        try:
            source = self._packed(prefix.state, prefix.length)
            self._copy(self._place(row, 0), source, prefix.length)
        except C2TError as error:
            raise engine_error(error, "loading the prompt's prefix") from error

    def gather(self, sources: list[int], start: int, stop: int) -> None:
        """Give row i the slots [start, stop) that row `sources[i]` had before the call."""
        moved = [(row, source) for row, source in enumerate(sources) if row != source]
        length = stop - start
        if not moved or length <= 0:
            return
        try:
            if len(moved) == 1:  # no other row needs what is overwritten
                row, source = moved[0]
                self._copy(self._place(row, start), self._place(source, start), length)
                return
            places = [self._packed(self._staging(), length, number) for number in range(len(moved))]
            for place, (_, source) in zip(places, moved, strict=True):
                self._copy(place, self._place(source, start), length)
            for place, (row, _) in zip(places, moved, strict=True):
                self._copy(self._place(row, start), place, length)
        except C2TError as error:
            raise engine_error(error, "moving rows of the decoder's cache") from error

    def _place(self, row: int, start: int) -> Blocks:
        """A row's slots from `start` on, as blocks of KV heads."""
        address = self.buffer.pointer + row * self._row + start * self._slot
        return Blocks(address, self.capacity * self._slot, self.rows * self._sizes.kv_heads)

    def _packed(self, array: DeviceArray, length: int, number: int = 0) -> Blocks:
        """The `number`-th row of an array that holds rows of this length, packed."""
        heads = self._sizes.kv_heads
        size = 2 * self._sizes.layers * heads * length * self._slot
        return Blocks(array.pointer + number * size, length * self._slot, heads)

    def _new_row(self, length: int) -> DeviceArray:
        sizes = self._sizes
        shape = (sizes.layers, 2, sizes.kv_heads, length, sizes.head_size)
        return DeviceArray.allocate(shape, STORAGE[self._dtype], what="a prompt's prefix")

    def _staging(self) -> DeviceArray:
        """Room for all rows, for moves in which rows change places."""
        if self._scratch is None:
            what = "moving the rows of beams"
            self._scratch = DeviceArray.allocate(self.buffer.shape, STORAGE[self._dtype], what=what)
        return self._scratch

    def _copy(self, target: Blocks, source: Blocks, length: int) -> None:
        copy_blocks(
            target,
            source,
            width=length * self._slot,
            rows=self._sizes.kv_heads,
            blocks=2 * self._sizes.layers,
            stream=self._device.handle,
        )
