"""INT8 attention on the CPU: which form of it runs here, and the whole of it on one thread.

Graphs run it as an operator of ONNX Runtime instead, on ONNX Runtime's threads: the library
registers it there (csrc/onnxruntime). Both call the same code.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from c2t.kernels.attention.definition import attention_reference
from c2t.kernels.errors import KernelError
from c2t.kernels.native import ISA_NUMBER, fastest, native_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAD_SIZE_MAX = 256

_POINTER = ctypes.c_void_p


class AttentionArguments(ctypes.Structure):
    """struct c2t_attention_args of csrc/attention/attention.h."""

    _fields_ = (
        ("query", _POINTER),
        ("key", _POINTER),
        ("value", _POINTER),
        ("key_lengths", _POINTER),
        ("out", _POINTER),
        ("batch", ctypes.c_int64),
        ("queries", ctypes.c_int64),
        ("keys", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("head_size", ctypes.c_int64),
        ("query_row", ctypes.c_int64),
        ("query_batch", ctypes.c_int64),
        ("key_row", ctypes.c_int64),
        ("key_batch", ctypes.c_int64),
        ("scale", ctypes.c_float),
    )


def attention_isa() -> str | None:
    """The instruction set that INT8 attention uses here, a key of `ISA_NUMBER`; None for NumPy.

    AVX-512 without VNNI has no products of 8-bit integers; such a processor uses AVX2.

    Raises:
        KernelError: `C2T_FORCE_ISA` names an implementation that does not run here.
    """
    kernels = native_kernels()
    if kernels is None:
        return None
    return fastest(kernels, "c2t_attention_isa_mask")


def attention(
    query: NDArray[np.float32],
    key: NDArray[np.float32],
    value: NDArray[np.float32],
    *,
    heads: int,
    scale: float,
    key_lengths: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """INT8 attention on one thread; see `attention_reference`.

    Raises:
        KernelError: Shapes, dtypes, lengths or the scale do not fit.
        MemoryError: There is no memory for the packed keys and values.
    """
    arrays = (query, key, value)
    if any(array.dtype != np.float32 or array.ndim != 3 for array in arrays):
        problem = f"queries, keys, values are {[f'{a.dtype} {a.shape}' for a in arrays]}"
        raise KernelError(problem, hint="give float32 [B, rows, heads * head_size]")
    batch, queries, width = query.shape
    if key.shape != value.shape or (key.shape[0], key.shape[2]) != (batch, width):
        problem = f"queries, keys, values have shapes {[a.shape for a in arrays]}"
        raise KernelError(problem, hint="they differ in the number of queries and keys only")
    if heads < 1 or width % heads or not 1 <= width // heads <= HEAD_SIZE_MAX:
        problem = f"{heads} heads over {width} columns"
        raise KernelError(problem, hint=f"a head has 1 to {HEAD_SIZE_MAX} columns")
    if not (np.isfinite(scale) and scale > 0):
        problem = f"the scale is {scale}"
        raise KernelError(problem, hint="the scale of the products is a positive number")
    if key_lengths is not None:
        _check_lengths(key_lengths, batch, key.shape[1])
    isa, kernels = attention_isa(), native_kernels()
    if isa is None or kernels is None:
        return attention_reference(
            query, key, value, heads=heads, scale=scale, key_lengths=key_lengths
        )
    query, key, value = (np.require(array, requirements=("C", "A")) for array in arrays)
    lengths = None if key_lengths is None else np.require(key_lengths, requirements=("C", "A"))
    out = np.empty_like(query)
    arguments = AttentionArguments(
        query=query.ctypes.data,
        key=key.ctypes.data,
        value=value.ctypes.data,
        key_lengths=None if lengths is None else lengths.ctypes.data,
        out=out.ctypes.data,
        batch=batch,
        queries=queries,
        keys=key.shape[1],
        heads=heads,
        head_size=width // heads,
        query_row=width,
        query_batch=queries * width,
        key_row=width,
        key_batch=key.shape[1] * width,
        scale=scale,
    )
    if kernels.library.c2t_attention(ctypes.byref(arguments), ISA_NUMBER[isa]):
        message = "the native kernels ran out of memory"
        raise MemoryError(message)
    return out


def _check_lengths(lengths: NDArray[np.int64], batch: int, keys: int) -> None:
    if lengths.dtype != np.int64 or lengths.shape != (batch,):
        problem = f"key lengths are {lengths.dtype} {lengths.shape}"
        raise KernelError(problem, hint="give one int64 length per batch row")
    if int(lengths.min(initial=0)) < 0 or int(lengths.max(initial=0)) > keys:
        problem = f"key lengths are {int(lengths.min())} ... {int(lengths.max())} of {keys} keys"
        raise KernelError(problem, hint="lengths count the keys of each batch row")
