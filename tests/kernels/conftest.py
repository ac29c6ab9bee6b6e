"""The compiler of CUDA sources, where it is."""

from __future__ import annotations

import pytest

from c2t.kernels.cuda.compile import nvrtc_version
from c2t.kernels.errors import KernelError


@pytest.fixture
def nvrtc() -> None:
    """NVRTC, which users have and which needs no GPU; the test is skipped where it is not."""
    pytest.importorskip("cuda.core", reason="cuda-core is not installed: c2t[gpu]")
    try:
        nvrtc_version()
    except KernelError as error:
        pytest.skip(error.problem)
