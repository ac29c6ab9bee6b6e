"""Encoder and projector on ONNX Runtime, CPU; and the engines of a bundle."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.engine_protocol import EngineOptions, Engines, Float32
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.session import describe_settings, open_session
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.system.errors import EngineError, first_line
from c2t.runtime.system.timing import StageClock


class BundleFiles(Protocol):
    """The part of a bundle that opening its graphs needs."""

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        ...

    @property
    def token_embedding(self) -> NDArray[Any]:
        """Text token rows [V,D]."""
        ...

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files."""
        ...


class OnnxRuntimeEncoder:
    """`encoder.onnx` and `projector.onnx`; the hidden states between them are never copied."""

    def __init__(
        self,
        encoder_path: Path,
        projector_path: Path,
        width: int,
        options: EngineOptions,
        clock: StageClock | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._ort = load_onnxruntime()
        self._encoder = open_session(encoder_path, options)
        self._projector = open_session(projector_path, options)
        self._width = width
        self._buffer = np.empty(0, dtype=np.float32)

    def input_buffer(self, batch: int, length: int) -> Float32:
        """The array [B,S,H] to write embeddings into; valid until the next call."""
        size = batch * length * self._width
        if self._buffer.size < size:
            self._buffer = np.empty(size, dtype=np.float32)
        return self._buffer[:size].reshape(batch, length, self._width)

    def encode(self, embeddings: Float32) -> Float32:
        """Cell vectors [B,K,D] of embeddings [B,S,H], all cells of equal length S.

        Raises:
            EngineError: A graph run failed.
        """
        since = time.perf_counter()
        try:
            hidden = self._run(self._encoder, "embeddings", embeddings, "hidden")
            since = self._clock.add("encoder", since)
            vectors = self._run(self._projector, "hidden", hidden, "cell_vectors")
        except Exception as error:
            problem = f"encoder failed on input {list(embeddings.shape)}: {first_line(error)}"
            raise EngineError(problem) from error
        self._clock.add("projector", since)
        result: Float32 = vectors.numpy()
        return result

    def clone(self) -> OnnxRuntimeEncoder:
        """The same sessions, which several threads may run, with a buffer of its own."""
        other = copy.copy(self)
        other._buffer = np.empty(0, dtype=np.float32)
        return other

    def _run(self, session: Any, name: str, value: Any, output: str) -> Any:
        binding = session.io_binding()
        if isinstance(value, np.ndarray):
            value = self._ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value))
        binding.bind_ortvalue_input(name, value)
        binding.bind_output(output, "cpu")
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0]


def open_engines(
    bundle: BundleFiles, options: EngineOptions, clock: StageClock | None = None
) -> Engines:
    """Open the three graphs of a bundle with ONNX Runtime on the CPU.

    Args:
        bundle: The bundle.
        options: How to open them.
        clock: Records the stages encoder and projector.
    """
    manifest = bundle.manifest
    return Engines(
        name="onnxruntime-cpu",
        encoder=OnnxRuntimeEncoder(
            bundle.file("encoder.onnx"),
            bundle.file("projector.onnx"),
            manifest.gene_input.hidden_size,
            options,
            clock,
        ),
        decoder=OnnxRuntimeDecoder(
            bundle.file("decoder.onnx"), manifest.decoder, bundle.token_embedding, options
        ),
        settings=describe_settings(options),
    )
