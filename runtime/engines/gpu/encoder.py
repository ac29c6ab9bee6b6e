"""Encoder and projector on a GPU: gene tokens go up, cell vectors come down.

One decision: the gene-embedding kernel writes into the encoder's input, and the projector reads the
encoder's output where it lies. Only tokens and cell vectors cross the bus.
"""

from __future__ import annotations

import copy
import time

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import download
from c2t.kernels.gene_embedding.cuda import DeviceCells, DeviceTables, launch_gene_embedding
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.engine_protocol import ENCODER_BATCH_TOKENS, Float32
from c2t.runtime.engines.gpu.graph import DeviceGraph, DeviceTensor, engine_error
from c2t.runtime.engines.gpu.memory import DeviceBuffer
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.tensor_files import STORAGE
from c2t.runtime.system.timing import StageClock


class DeviceEncoder:
    """See `c2t.runtime.engine_protocol.EncoderEngine`.

    Args:
        device: The device of the graphs.
        encoder: The encoder's graph, opened.
        projector: The projector's.
        tables: Tables of the gene embedding.
        manifest: The sizes.
        clock: Records embedding, encoder and projector together, as the stage encoder: the host
            waits for the three at once.
    """

    def __init__(
        self,
        device: CudaDevice,
        encoder: DeviceGraph,
        projector: DeviceGraph,
        tables: GeneEmbeddingTables,
        manifest: Manifest,
        clock: StageClock | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._device = device
        self._encoder, self._projector = encoder, projector
        # One cell of a thousand genes leaves most of a GPU idle.
        self.batch_tokens = max(ENCODER_BATCH_TOKENS, encoder.batch_tokens)
        self._tables: DeviceTables = DeviceTables.upload(tables)
        self._manifest = manifest
        self._new_buffers()

    def _new_buffers(self) -> None:
        self._embeddings = DeviceBuffer("the gene embeddings")
        self._hidden = DeviceBuffer("the encoder's output")
        self._vectors = DeviceBuffer("the cell vectors")

    def clone(self) -> DeviceEncoder:
        """The same graphs with buffers of its own; their runs share the stream."""
        other = copy.copy(self)
        other._new_buffers()
        return other

    def encode(self, tokens: NDArray[np.int32]) -> Float32:
        """Cell vectors [B,K,D] of gene tokens [B,S], all cells of equal length S.

        Raises:
            EngineError: A run failed.
        """
        return self._timed(tokens, with_hidden=False)[0]

    def encode_with_hidden(self, tokens: NDArray[np.int32]) -> tuple[Float32, Float32]:
        """See `c2t.runtime.engine_protocol.EncoderEngine.encode_with_hidden`."""
        vectors, hidden = self._timed(tokens, with_hidden=True)
        return vectors, hidden

    def _timed(self, tokens: NDArray[np.int32], *, with_hidden: bool) -> list[Float32]:
        """Cell vectors and, where they are wanted, the encoder's output."""
        since = time.perf_counter()
        try:
            tensors = self._encode(np.ascontiguousarray(tokens, np.int32))
            arrays = [_downloaded(tensor) for tensor in tensors[: 1 + with_hidden]]
        except C2TError as error:
            doing = f"encoder failed on {tokens.shape[0]} cells of {tokens.shape[1]} genes"
            raise engine_error(error, doing) from error
        self._clock.add("encoder", since)
        return arrays

    def _encode(self, tokens: NDArray[np.int32]) -> tuple[DeviceTensor, DeviceTensor]:
        """Cell vectors and the encoder's output, which stay on the device until the next run."""
        (batch, length), sizes = tokens.shape, self._manifest
        rows = sizes.encoder.rows
        kept = length if rows is None else min(length, rows)
        vectors = kept if sizes.projector.kind == "mlp" else sizes.projector.vectors
        embeddings = self._tensor(
            self._embeddings,
            (batch, length, sizes.gene_input.hidden_size),
            self._encoder.dtypes["embeddings"],
        )
        hidden = self._tensor(
            self._hidden,
            (batch, kept, sizes.gene_input.hidden_size),
            self._encoder.dtypes["hidden"],
        )
        dtype = self._projector.dtypes["cell_vectors"]
        result = self._tensor(self._vectors, (batch, vectors, sizes.decoder.hidden_size), dtype)
        cells = DeviceCells.upload(tokens, np.full(batch, length, np.int32), self._tables.host)
        launch_gene_embedding(
            self._device,
            cells,
            self._tables,
            embeddings.address,
            dtype=STORAGE[embeddings.dtype],
        )
        for graph, tensors in (
            (self._encoder, {"embeddings": embeddings, "hidden": hidden}),
            (self._projector, {"hidden": hidden, "cell_vectors": result}),
        ):
            bound = graph.bind(tensors, repeated=False)
            bound.enqueue()
            bound.close()
        self._device.synchronize()
        return result, hidden

    @staticmethod
    def _tensor(memory: DeviceBuffer, shape: tuple[int, ...], dtype: str) -> DeviceTensor:
        size = int(np.prod(shape)) * STORAGE[dtype].itemsize
        return DeviceTensor(memory.address(size), shape, dtype)


def _downloaded(tensor: DeviceTensor) -> Float32:
    """A tensor of the device as float32 of the host."""
    stored = download(tensor.address, tensor.shape, STORAGE[tensor.dtype])
    if tensor.dtype == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)
