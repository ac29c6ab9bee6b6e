"""The projector without an encoder: for rows of several cells, which no single cell has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.cpu.session import RUN_HINT, open_session
from c2t.runtime.engines.onnxruntime_library import onnxruntime_errors
from c2t.runtime.system.errors import EngineError, first_line


class ProjectorAlone:
    """Graph `projector.onnx` with ONNX Runtime; threads may share it.

    Args:
        path: The graph.
        options: How to open it.

    Raises:
        EngineError: It cannot be opened.
    """

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self._session = open_session(path, options)

    def project(self, hidden: Float32) -> Float32:
        """Cell vectors [B, K', D] of rows [B, K, H].

        Raises:
            EngineError: The run failed.
        """
        rows = np.ascontiguousarray(hidden, dtype=np.float32)
        try:
            (vectors,) = self._session.run(["cell_vectors"], {"hidden": rows})
        except onnxruntime_errors() as error:
            problem = f"projector failed on rows {list(rows.shape)}: {first_line(error)}"
            raise EngineError(problem, hint=RUN_HINT) from error
        result: Float32 = vectors
        return result
