"""Opening a graph beside the PyTorch model that it was made from."""

from pathlib import Path

import onnxruntime
import torch


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU with its weights mapped from the file, not copied."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.intra_op_num_threads = torch.get_num_threads()
    # Prepacking would copy every weight, beside the PyTorch model that is in memory already.
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
