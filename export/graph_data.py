"""The side-car file of a graph: weights one after the other, each on a page boundary.

One decision: a weight is a run of blocks, written as they come, so that neither a transposed nor a
converted weight ever exists as a whole beside the original.
"""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from onnx import TensorProto

# Weights start on page boundaries: a runtime can map each of them straight from the file.
PAGE = 4096
# A weight that is changed on the way goes in blocks of at most this: they fit the cache, which made
# transposing four times as fast as blocks of 64 MB.
BLOCK_BYTES = 4 << 20


class GraphData:
    """Writes `<graph>.data`; without `keep`, the file is removed at the end.

    Args:
        graph: The graph file that the weights belong to.
    """

    def __init__(self, graph: Path) -> None:
        self.path = graph.with_name(graph.name + ".data")
        self._keep = False

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._keep:
            self.path.unlink(missing_ok=True)

    def append(self, blocks: Iterable[np.ndarray]) -> tuple[int, int]:
        """Write contiguous blocks of one tensor; returns its offset and its length in bytes."""
        self._file.write(bytes(-self._file.tell() % PAGE))
        offset = self._file.tell()
        for block in blocks:
            self._file.write(block.data.cast("B"))
        return offset, self._file.tell() - offset

    def tensor(
        self, name: str, data_type: int, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
    ) -> TensorProto:
        """Write a tensor; returns the initializer that points at it."""
        offset, length = self.append(blocks)
        tensor = TensorProto(name=name, data_type=data_type, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": self.path.name, "offset": offset, "length": length}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def keep(self) -> None:
        """The file is complete: leave it where it is."""
        self._file.flush()
        self._keep = True
