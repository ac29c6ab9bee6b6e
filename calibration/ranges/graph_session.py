"""Sessions on graphs that exist only in memory, their weights left in a bundle's data file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import PROVIDERS, session_settings
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.system.errors import EngineError, first_line


def open_graph(model: onnx.ModelProto, folder: Path, options: EngineOptions) -> Any:
    """Open a changed copy of a graph: nothing is written, nothing large is copied.

    Args:
        model: The graph; its external weights are those of a graph file in `folder`.
        folder: Where the data files lie.
        options: Threads.

    Raises:
        EngineError: The graph cannot be opened.
    """
    ort = load_onnxruntime()
    # A second, packed copy of the weights would be most of the memory that calibration takes.
    settings = session_settings(options, prepack=False)
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.resolve())
    )
    try:
        return ort.InferenceSession(model.SerializeToString(), settings, providers=list(PROVIDERS))
    except Exception as error:
        problem = f"ONNX Runtime cannot open a changed `{model.graph.name}`: {first_line(error)}"
        raise EngineError(problem, hint="export the bundle again") from error
