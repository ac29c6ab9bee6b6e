"""The only place that imports ONNX Runtime: telemetry is switched off before it loads.

Official builds since 1.29 send telemetry unless the environment says otherwise, and they read the
environment once, while the library loads.
"""

from __future__ import annotations

import os
from types import ModuleType

from c2t.runtime.system.errors import EngineError


def load_onnxruntime() -> ModuleType:
    """The module `onnxruntime`, loaded with its telemetry off.

    Raises:
        EngineError: No ONNX Runtime is installed, or it does not load here.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        problem = f"ONNX Runtime cannot be imported: {error}"
        hint = "install one of the extras: `pip install 'c2t[cpu]'` or `pip install 'c2t[gpu]'`"
        raise EngineError(problem, hint=hint) from error
    # Version and provider messages of severity "warning" are of no use to who describes cells.
    onnxruntime.set_default_logger_severity(3)
    module: ModuleType = onnxruntime
    return module
