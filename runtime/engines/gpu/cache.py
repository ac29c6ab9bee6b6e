"""Keys and values on the device: one array for all layers, as on the host.

One decision: batch rows are saved, loaded and moved by the driver's own strided copies, which need
no kernel. A batch row is L*2 blocks of KV heads, and of each head the wanted cache positions lie
side by side.
"""

from __future__ import annotations

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import Blocks, DeviceArray, copy_blocks
from c2t.kernels.dtypes import rounded_to
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import Float32, SavedPrefix
from c2t.runtime.engines.buffers import BoundSteps
from c2t.runtime.engines.gpu.graph import DeviceTensor, engine_error
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.tensor_files import STORAGE


class DeviceCache:
    """KV buffers [L,2,B,KV,C,head_size]; see `c2t.runtime.engine_protocol.KeyValueCache`.

    Raises:
        EngineError: They do not fit into the GPU's memory.
    """

    def __init__(
        self, device: CudaDevice, sizes: Decoder, dtype: str, rows: int, capacity: int
    ) -> None:
        self.rows = rows
        self.capacity = capacity
        self.steps = BoundSteps()
        self._device = device
        self._sizes = sizes
        self._dtype = dtype
        shape = (sizes.layers, 2, rows, sizes.kv_heads, capacity, sizes.head_size)
        what = f"the keys and values of {rows} cells x {capacity} tokens"
        try:
            # Zeros: masked positions are multiplied by zero, so they must be finite.
            self.buffer = DeviceArray.zeros(shape, STORAGE[dtype], what=what)
            self._scratch: DeviceArray | None = None
        except C2TError as error:
            raise engine_error(error, "the decoder's cache") from error
        self._position_bytes = sizes.head_size * STORAGE[dtype].itemsize  # of one head
        self._row_bytes = sizes.kv_heads * capacity * self._position_bytes  # of one layer's keys

    def tensors(self, first: int, end: int) -> dict[str, DeviceTensor]:
        """The batch rows [first, end) as a graph reads and writes them in place, by its names."""
        sizes = self._sizes
        shape = (end - first, sizes.kv_heads, self.capacity, sizes.head_size)
        tensors = {}
        for number, name in enumerate(sizes.cache_names):
            address = self.buffer.pointer + (number * self.rows + first) * self._row_bytes
            tensor = DeviceTensor(address, shape, self._dtype)
            tensors[f"past_{name}"] = tensors[f"present_{name}"] = tensor
        return tensors

    def make_room(self, positions: int) -> None:
        """Do nothing: all cache positions have their memory."""

    def save(self, row: int, length: int) -> SavedPrefix:
        """A copy, on the device, of the first `length` cache positions of a batch row."""
        try:
            saved = self._new_row(length)
            self._copy(self._packed(saved, length), self._place(row, 0), length)
        except C2TError as error:
            raise engine_error(error, "saving the prompt's prefix") from error
        return SavedPrefix(length, saved)

    def load(self, row: int, prefix: SavedPrefix, length: int | None = None) -> None:
        """See `c2t.runtime.engine_protocol.KeyValueCache.load`."""
        try:
            source = self._packed(prefix.state, prefix.length)
            self._copy(self._place(row, 0), source, prefix.length if length is None else length)
        except C2TError as error:
            raise engine_error(error, "loading the prompt's prefix") from error

    def put(self, row: int, keys_values: Float32) -> None:
        """Write keys and values [L,2,KV,P,head_size] to the first P cache positions of a row."""
        try:
            stored = rounded_to(keys_values, STORAGE[self._dtype])
            uploaded = DeviceArray.upload(stored, what="a prompt's prefix")
        except C2TError as error:
            raise engine_error(error, "loading the prompt's prefix") from error
        self.load(row, SavedPrefix(keys_values.shape[3], uploaded))

    def gather(self, sources: list[int], start: int, stop: int) -> None:
        """Give batch row i what row `sources[i]` had at [start, stop) before the call."""
        moved = [(row, source) for row, source in enumerate(sources) if row != source]
        length = stop - start
        if not moved or length <= 0:
            return
        try:
            if len(moved) == 1:  # no other row reads what is overwritten
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
        """A batch row from a cache position on, as blocks of KV heads."""
        address = self.buffer.pointer + row * self._row_bytes + start * self._position_bytes
        pitch = self.capacity * self._position_bytes
        return Blocks(address, pitch, self.rows * self._sizes.kv_heads)

    def _packed(self, array: DeviceArray, length: int, number: int = 0) -> Blocks:
        """The `number`-th of several batch rows of this length that an array holds packed."""
        heads = self._sizes.kv_heads
        size = 2 * self._sizes.layers * heads * length * self._position_bytes
        return Blocks(array.pointer + number * size, length * self._position_bytes, heads)

    def _new_row(self, length: int) -> DeviceArray:
        sizes = self._sizes
        shape = (sizes.layers, 2, sizes.kv_heads, length, sizes.head_size)
        return DeviceArray.allocate(shape, STORAGE[self._dtype], what="a prompt's prefix")

    def _staging(self) -> DeviceArray:
        """Memory for all batch rows, for moves that overwrite rows which are still to be read."""
        if self._scratch is None:
            what = "moving the rows of beams"
            self._scratch = DeviceArray.allocate(self.buffer.shape, STORAGE[self._dtype], what=what)
        return self._scratch

    def _copy(self, target: Blocks, source: Blocks, length: int) -> None:
        copy_blocks(
            target,
            source,
            width=length * self._position_bytes,
            rows=self._sizes.kv_heads,
            blocks=2 * self._sizes.layers,
            stream=self._device.handle,
        )
