"""The only place that imports ONNX Runtime: telemetry is switched off before it loads.

Official builds since 1.29 send telemetry unless the environment says otherwise, and they read the
environment once, while the library loads.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
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

        # A stray folder called `onnxruntime` on the path is importable, but lacks this function.
        from onnxruntime import set_default_logger_severity
    except ImportError as error:
        problem = f"ONNX Runtime cannot be imported: {error}"
        hint = "install one of the extras: `pip install 'c2t[cpu]'` or `pip install 'c2t[gpu]'`; "
        hint += "see `c2t help install`"
        raise EngineError(problem, hint=hint) from error
    # Errors only: its warnings about versions and providers do not help a user.
    set_default_logger_severity(3)
    module: ModuleType = onnxruntime
    return module


@cache
def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises when it opens or runs a graph; for an `except` clause.

    Its bindings make a class for each of its status codes, without a base of their own, and turn
    every other C++ exception into RuntimeError.
    """
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    return (*own, RuntimeError)
