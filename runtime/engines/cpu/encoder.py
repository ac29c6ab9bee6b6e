"""Gene embedding, encoder and projector on the CPU: our kernels and ONNX Runtime.

One decision: a kernel writes into the memory that the encoder reads, and the hidden states stay
where the encoder wrote them for the projector. Nothing is copied in between.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.encoder.cpu import Encoded
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.kernels.mapped import give_back
from c2t.runtime.engine_protocol import ENCODER_BATCH_TOKENS, EngineOptions, Float32, Int32
from c2t.runtime.engines.buffers import HostBuffer
from c2t.runtime.engines.cpu.session import (
    RUN_HINT,
    ChangedGraph,
    open_session,
)
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime, onnxruntime_errors
from c2t.runtime.system.errors import EngineError, first_line
from c2t.runtime.system.portable.memory import return_free_memory
from c2t.runtime.system.timing import StageClock

# Of embeddings that are not kept, and neither is the gene table in memory: those of 2,048 genes of
# Geneformer V2. To make both again takes less than a hundredth of such a run.
LARGE_BYTES = 6 << 20
ROWS_AT_ONCE = 512  # of each cell; to look through all of them at once takes 3 MB at 4,096 genes


class Layers(Protocol):
    """An encoder's layers, run by something else than ONNX Runtime."""

    projects: bool  # whether cell vectors come with the hidden states

    def run(self, embeddings: Float32) -> Encoded:
        """Run all layers on embeddings [B, S, H], which may be used up.

        Raises:
            EngineError: The run failed.
        """

    def clone(self) -> Layers:
        """The same weights with memory of its own, for another thread."""


class OnnxRuntimeEncoder:
    """See `c2t.runtime.engine_protocol.EncoderEngine`.

    Args:
        encoder_path: Graph `encoder.onnx`.
        projector_path: Graph `projector.onnx`.
        tables: Tables of the gene embedding.
        options: How to open the graphs, and the threads of the gene embedding.
        clock: Records the stages embed, encoder and projector.
        changed: What to open in place of the graph `encoder.onnx`.
        layers: What runs the encoder's layers; None: a session of the graph, which is opened.

    Raises:
        EngineError: A graph cannot be opened.
    """

    batch_tokens = ENCODER_BATCH_TOKENS

    def __init__(
        self,
        encoder_path: Path,
        projector_path: Path,
        tables: GeneEmbeddingTables,
        options: EngineOptions,
        clock: StageClock | None = None,
        *,
        changed: ChangedGraph | None = None,
        layers: Layers | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._ort = load_onnxruntime()
        self._layers = layers
        self.session: Any = None
        if layers is None:
            self.session = open_session(encoder_path, options, changed=changed)
        self._projector: Any = None
        if layers is None or not layers.projects:
            self._projector = open_session(projector_path, options)
        self._tables = tables
        self._threads = options.threads
        self._embeddings = HostBuffer()

    def encode(self, tokens: Int32) -> Float32:
        """Cell vectors [B,K,D] of gene tokens [B,S], all cells of equal length S.

        They are NaN for a cell whose embeddings or hidden states are not finite.

        Raises:
            EngineError: A graph run failed.
        """
        return self._encode(tokens)[0]

    def encode_with_hidden(self, tokens: Int32) -> tuple[Float32, Float32]:
        """See `c2t.runtime.engine_protocol.EncoderEngine.encode_with_hidden`."""
        return self._encode(tokens)

    def _encode(self, tokens: Int32) -> tuple[Float32, Float32]:
        """Cell vectors, and the encoder's output."""
        since = time.perf_counter()
        batch, length = tokens.shape
        embeddings = self._embeddings.view((batch, length, self._tables.hidden_size))
        lengths = np.full(batch, length, dtype=np.int32)
        embed_genes(tokens, lengths, self._tables, embeddings, threads=self._threads)
        if embeddings.nbytes >= LARGE_BYTES:
            give_back(self._tables.word)
            give_back(self._tables.position)
        since = self._clock.add("embed", since)
        try:
            hidden, vectors = self._run_graphs(embeddings, since)
        except onnxruntime_errors() as error:
            problem = f"encoder failed on input {list(embeddings.shape)}: {first_line(error)}"
            raise EngineError(problem, hint=RUN_HINT) from error
        if embeddings.nbytes >= LARGE_BYTES:
            self._embeddings = HostBuffer()
            return_free_memory()
        return vectors, hidden

    def clone(self) -> OnnxRuntimeEncoder:
        """The same weights, which several threads may use, with a buffer of its own."""
        other = copy.copy(self)
        other._embeddings = HostBuffer()
        other._layers = self._layers.clone() if self._layers else None
        return other

    def _run_graphs(self, embeddings: Float32, since: float) -> tuple[Float32, Float32]:
        """Hidden states and cell vectors; the stages are recorded, the first from `since` on."""
        # Quantised in a graph, what is not finite would look like a number.
        finite: NDArray[np.bool_] | None = None
        from_numpy = self._ort.OrtValue.ortvalue_from_numpy
        if self._layers is None:
            finite = _finite(embeddings)
            given = from_numpy(embeddings)
            value = self._run(self.session, "embeddings", given, "hidden")
            hidden: Float32 = value.numpy()
        else:
            # Our kernel looks at its inputs itself: all it gives for such a cell is NaN.
            hidden, made, seconds = self._layers.run(embeddings)
            if made is not None:
                self._clock.add("encoder", since)
                self._clock.split("encoder", "projector", seconds)
                return hidden, made
            value = from_numpy(hidden)  # the array's own memory, which it does not keep alive
        since = self._clock.add("encoder", since)
        vectors: Float32 = self._run(self._projector, "hidden", value, "cell_vectors").numpy()
        finite = _finite(hidden) if finite is None else finite & _finite(hidden)
        if not finite.all():
            vectors = np.where(finite[:, None, None], vectors, np.float32(np.nan))
        self._clock.add("projector", since)
        return hidden, vectors

    def _run(self, session: Any, name: str, value: Any, output: str) -> Any:
        """The OrtValue that a session of one input and one output gives."""
        binding = session.io_binding()
        binding.bind_ortvalue_input(name, value)
        binding.bind_output(output, "cpu")
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0]


def _finite(numbers: Float32) -> NDArray[np.bool_]:
    """Whether all numbers of each cell [B, rows, H] are finite."""
    finite = np.asarray(np.isfinite(numbers[:, :ROWS_AT_ONCE]).all(axis=(1, 2)), dtype=np.bool_)
    for first in range(ROWS_AT_ONCE, numbers.shape[1], ROWS_AT_ONCE):
        finite &= np.isfinite(numbers[:, first : first + ROWS_AT_ONCE]).all(axis=(1, 2))
    return finite
