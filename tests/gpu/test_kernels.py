"""The CUDA kernels on a GPU, against their NumPy definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpu_checks import check_choice, check_gene_embedding, check_token_rows

from c2t.kernels.cuda.memory import DeviceArray
from c2t.runtime.system.errors import C2TError

pytestmark = pytest.mark.gpu

# One number, less and more than a warp, whole vectors and not, and the published models' sizes.
HIDDEN_SIZES = (1, 7, 8, 63, 64, 256, 768, 1152)
TABLES = ("float32", "float16", "int8")
OUTPUTS = ("float32", "float16", "uint16", "int8")


@pytest.mark.parametrize("dtype", OUTPUTS)
@pytest.mark.parametrize("storage", TABLES)
@pytest.mark.parametrize("hidden_size", HIDDEN_SIZES)
def test_gene_embedding(device: Any, hidden_size: int, storage: str, dtype: str) -> None:
    check_gene_embedding(device, hidden_size, storage, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint16"])
@pytest.mark.parametrize("storage", TABLES)
def test_token_rows(device: Any, storage: str, dtype: str) -> None:
    check_token_rows(device, storage, dtype)


@pytest.mark.parametrize(
    ("vocabulary", "dtype"), [(128_256, "float32"), (128_256, "float16"), (97, "float32")]
)
def test_choice_of_tokens(device: Any, vocabulary: int, dtype: str) -> None:
    check_choice(device, vocabulary, dtype)


def test_full_memory_is_said(device: Any) -> None:
    with pytest.raises(C2TError, match="the GPU has no memory for a test, 1125899"):
        DeviceArray.allocate((1 << 50,), np.uint8, what="a test")
    rows = np.arange(8, dtype=np.float32)
    np.testing.assert_array_equal(DeviceArray.upload(rows).download(), rows)  # it still works
