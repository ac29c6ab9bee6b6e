"""Gene embedding, encoder and projector on the CPU: our kernel, then ONNX Runtime.

One decision: the kernel writes into the memory that the encoder reads, and the hidden states stay
where the encoder wrote them for the projector. Nothing is copied in between.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np

from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EncoderEngine, EngineOptions, Engines, Float32, Int32
from c2t.runtime.engines.buffers import HostBuffer
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.int8_attention import choose_attention
from c2t.runtime.engines.cpu.kernel_step import with_step_kernel
from c2t.runtime.engines.cpu.session import (
    RUN_HINT,
    ChangedGraph,
    describe_settings,
    open_session,
)
from c2t.runtime.engines.no_encoder import NoEncoder
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime, onnxruntime_errors
from c2t.runtime.system.errors import EngineError, first_line
from c2t.runtime.system.timing import StageClock


class OnnxRuntimeEncoder:
    """See `c2t.runtime.engine_protocol.EncoderEngine`.

    Args:
        encoder_path: Graph `encoder.onnx`.
        projector_path: Graph `projector.onnx`.
        tables: Tables of the gene embedding.
        options: How to open the graphs, and the threads of the gene embedding.
        clock: Records the stages embed, encoder and projector.
        changed: What to open in place of the graph `encoder.onnx`.
    """

    def __init__(
        self,
        encoder_path: Path,
        projector_path: Path,
        tables: GeneEmbeddingTables,
        options: EngineOptions,
        clock: StageClock | None = None,
        *,
        changed: ChangedGraph | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._ort = load_onnxruntime()
        self._encoder = open_session(encoder_path, options, changed=changed)
        self._projector = open_session(projector_path, options)
        self._tables = tables
        self._threads = options.threads
        self._embeddings = HostBuffer()

    def encode(self, tokens: Int32) -> Float32:
        """Cell vectors [B,K,D] of gene tokens [B,S], all cells of equal length S.

        Raises:
            EngineError: A graph run failed.
        """
        vectors: Float32 = self._encode(tokens)[0].numpy()
        return vectors

    def encode_with_hidden(self, tokens: Int32) -> tuple[Float32, Float32]:
        """See `c2t.runtime.engine_protocol.EncoderEngine.encode_with_hidden`."""
        vectors, hidden = self._encode(tokens)
        return vectors.numpy(), hidden.numpy()

    def _encode(self, tokens: Int32) -> tuple[Any, Any]:
        """Cell vectors and the encoder's output, as OrtValues."""
        since = time.perf_counter()
        batch, length = tokens.shape
        embeddings = self._embeddings.view((batch, length, self._tables.hidden_size))
        lengths = np.full(batch, length, dtype=np.int32)
        embed_genes(tokens, lengths, self._tables, embeddings, threads=self._threads)
        since = self._clock.add("embed", since)
        try:
            value = self._ort.OrtValue.ortvalue_from_numpy(embeddings)
            hidden = self._run(self._encoder, "embeddings", value, "hidden")
            since = self._clock.add("encoder", since)
            vectors = self._run(self._projector, "hidden", hidden, "cell_vectors")
        except onnxruntime_errors() as error:
            problem = f"encoder failed on input {list(embeddings.shape)}: {first_line(error)}"
            raise EngineError(problem, hint=RUN_HINT) from error
        self._clock.add("projector", since)
        return vectors, hidden

    def clone(self) -> OnnxRuntimeEncoder:
        """The same sessions, which several threads may run, with a buffer of its own."""
        other = copy.copy(self)
        other._embeddings = HostBuffer()
        return other

    def _run(self, session: Any, name: str, value: Any, output: str) -> Any:
        """The OrtValue that a session of one input and one output gives."""
        binding = session.io_binding()
        binding.bind_ortvalue_input(name, value)
        binding.bind_output(output, "cpu")
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0]


def open_engines(
    bundle: Bundle, options: EngineOptions, clock: StageClock | None = None
) -> Engines:
    """Open the graphs of a bundle with ONNX Runtime on the CPU.

    Args:
        options: How to open them.
        clock: Records the stages embed, encoder and projector.

    Raises:
        EngineError: A graph cannot be opened.
    """
    settings = describe_settings(options)
    encoder: EncoderEngine = NoEncoder()
    if bundle.manifest.has_encoder:
        attention = choose_attention(bundle, options)
        if attention.said:
            settings["attention"] = attention.said
        encoder = OnnxRuntimeEncoder(
            bundle.file("encoder.onnx"),
            bundle.file("projector.onnx"),
            bundle.gene_embedding_tables,
            options,
            clock,
            changed=attention.graph,
        )
    path, sizes = bundle.file("decoder.onnx"), bundle.manifest.decoder
    decoder = OnnxRuntimeDecoder(path, sizes, bundle.token_embedding, options)
    steps = with_step_kernel(decoder, path, sizes, options)
    if steps:
        settings["steps"] = steps
    return Engines(name="onnxruntime-cpu", encoder=encoder, decoder=decoder, settings=settings)
