"""The data file beside a graph file: writing tensors one after the other, and reading them.

One decision: a tensor is written block by block as the blocks come. So neither a transposed nor a
converted weight ever exists as a whole beside the original.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto

from c2t.runtime.system.errors import BundleError
from c2t.runtime.system.tensor_files import region_problem

# Weights start on page boundaries, so that a runtime can map each of them straight from the file.
# Scales and biases are many and small: a cache line is enough for them.
PAGE = 4096
CACHE_LINE = 64
SMALL_BYTES = 64 << 10
# Smaller tensors stay in the graph file: a page each would be a waste.
INLINE_BYTES = 1024
# A weight is converted or transposed in blocks of at most this. They fit the processor's cache:
# transposing became four times as fast as with blocks of 64 MB.
BLOCK_BYTES = 4 << 20


class DataFile:
    """Writes `<graph>.data` beside a graph file; an error within the block removes it.

    Args:
        graph: The graph file that the tensors belong to.
    """

    def __init__(self, graph: Path) -> None:
        self.path = graph.with_name(graph.name + ".data")

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
        if error is not None:
            self.path.unlink(missing_ok=True)

    def append(self, blocks: Iterable[NDArray[Any]], *, align: int = PAGE) -> tuple[int, int]:
        """Write the blocks of one tensor; returns its offset and its length in bytes."""
        self._file.write(bytes(-self._file.tell() % align))
        offset = self._file.tell()
        for block in blocks:
            self._file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
        return offset, self._file.tell() - offset

    def tensor(self, name: str, values: NDArray[Any]) -> TensorProto:
        """Store an array, in the file or (if small) in the initializer that is returned."""
        if values.nbytes < INLINE_BYTES:
            small: TensorProto = onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
            return small
        return self.blocks(name, values.dtype, values.shape, [values])

    def blocks(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        blocks: Iterable[NDArray[Any]],
    ) -> TensorProto:
        """Store a tensor that comes in blocks; returns the initializer that points at it.

        Args:
            name: Of the initializer.
            dtype: Of the elements; ml_dtypes' bfloat16 among them.
            shape: Of the whole.
            blocks: Contiguous pieces of it, in the order of the file.
        """
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        offset, length = self.append(blocks, align=PAGE if size >= SMALL_BYTES else CACHE_LINE)
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        tensor = TensorProto(name=name, data_type=kind, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.path.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor


def read_graph(path: Path) -> onnx.ModelProto:
    """A graph without the weights of its data file.

    Raises:
        BundleError: It is no ONNX graph.
    """
    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError as error:
        problem = f"{path.name} is not an ONNX graph: {error}"
        raise BundleError(problem, hint="export the bundle again") from error


def offset_of(tensor: TensorProto) -> int | None:
    """Where in its data file an initializer lies; None if it lies in the graph file."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    return int({entry.key: entry.value for entry in tensor.external_data}.get("offset", "0"))


def stored_values(tensor: TensorProto, graph: Path) -> NDArray[Any]:
    """An initializer's values, mapped from the data file where they lie there; read-only.

    Args:
        tensor: The initializer.
        graph: Its graph file; the data file lies beside it.

    Raises:
        BundleError: It does not lie in the graph's own data file, or not inside it, holds no
            numbers, or not as many as its shape says.
    """
    hint = "export the bundle again"
    try:
        if tensor.data_location != TensorProto.EXTERNAL:
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        place = {entry.key: entry.value for entry in tensor.external_data}
        offset = int(place.get("offset", "0"))
    except (ValueError, KeyError, TypeError) as error:  # onnx's: a type, a shape, a number
        problem = f"{graph.name}: the tensor {tensor.name} cannot be read: {error}"
        raise BundleError(problem, hint=hint) from error
    location = place.get("location", "")
    if dtype.kind not in "biuf":  # strings would be mapped as addresses
        problem = f"{graph.name}: the tensor {tensor.name} in the data file holds no numbers"
        raise BundleError(problem, hint=hint)
    if location != f"{graph.name}.data":
        problem = f"{graph.name}: the tensor {tensor.name} is said to lie in {location!r}"
        raise BundleError(problem, hint=f"its data file is {graph.name}.data; {hint}")
    path, shape = graph.with_name(location), tuple(tensor.dims)
    if problem := region_problem(path, offset, shape, dtype):
        problem = f"{graph.name}: the tensor {tensor.name} in the data file {problem}"
        raise BundleError(problem, hint=hint)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
