"""Token rows and choices from logits on the CPU: native where that is faster, else NumPy.

One decision: both are bound to arrays that keep their memory, like the steps that they surround. So
a run is one native call with a structure that exists, without the checks and the temporary arrays
that cost more than the work where a model is small.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.native import FORCE_VARIABLE, ISA_NUMBER, NativeKernels, native_kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]

TABLE_TYPES = ("float32", "float16", "int8")
_POINTER = ctypes.c_void_p


class _RowsStruct(ctypes.Structure):
    """`struct c2t_token_rows_args`."""

    _fields_ = (
        ("token_ids", _POINTER),
        ("table", _POINTER),
        ("scale", _POINTER),
        ("out", _POINTER),
        ("rows", ctypes.c_int64),
        ("vocabulary_size", ctypes.c_int64),
        ("hidden_size", ctypes.c_int64),
        ("table_type", ctypes.c_int32),
    )


class _ChoicesStruct(ctypes.Structure):
    """`struct c2t_choices_args`."""

    _fields_ = (
        ("logits", _POINTER),
        ("banned", _POINTER),
        ("tokens", _POINTER),
        ("top", _POINTER),
        ("rows", ctypes.c_int64),
        ("vocabulary_size", ctypes.c_int64),
        ("bans", ctypes.c_int64),
    )


class _ProbabilitiesStruct(ctypes.Structure):
    """`struct c2t_probabilities_args`."""

    _fields_ = (
        ("logits", _POINTER),
        ("tokens", _POINTER),
        ("top", _POINTER),
        ("named", _POINTER),
        ("probabilities", _POINTER),
        ("count", ctypes.c_int64),
        ("vocabulary_size", ctypes.c_int64),
    )


class TokenRows:
    """Rows of a token table, written to the same memory again and again.

    Args:
        token_ids: [N] tokens to look up, contiguous; of a negative one the row is left as it is.
        table: [V, D] float32, float16, or int8 with a scale per row.
        scale: [V] float32 of an int8 table, else None.
        out: [N, D] float32, contiguous.
    """

    def __init__(
        self, token_ids: Int32, table: NDArray[Any], scale: Float32 | None, out: Float32
    ) -> None:
        self._arrays = token_ids, table, scale, out
        self._run: Any = None
        kernels = native_kernels()
        parts = [array for array in self._arrays if array is not None]
        plain = all(array.flags.c_contiguous and array.flags.aligned for array in parts)
        if kernels is None or not plain or table.dtype.name not in TABLE_TYPES:
            return
        self._run = kernels.library_for(out.size).c2t_token_rows
        self._struct = _RowsStruct(
            token_ids.ctypes.data,
            table.ctypes.data,
            None if scale is None else scale.ctypes.data,
            out.ctypes.data,
            len(token_ids),
            *table.shape,
            TYPE_NUMBER[table.dtype.name],
        )
        self._pointer = ctypes.byref(self._struct)

    def run(self) -> None:
        """Write the rows.

        Raises:
            IndexError: A token is not in the table.
        """
        if self._run is None:
            self._by_numpy()
        elif self._run(self._pointer, 0, 1):
            tokens, table, *_ = self._arrays
            message = f"token {int(tokens.max())} of a table of {len(table)} tokens"
            raise IndexError(message)

    def _by_numpy(self) -> None:
        token_ids, table, scale, out = self._arrays
        text = token_ids >= 0
        rows = table[token_ids[text]].astype(np.float32)
        out[text] = rows if scale is None else rows * scale[token_ids[text]][:, None]


class LogitRows:
    """Greedy choices from rows of logits, which are written to the same memory again and again.

    The numbers of a row depend on that row alone.

    Args:
        logits: [N, V] float32, contiguous.

    Attributes:
        tokens: [N] of the last `choose`.
        top: [N] likewise: the largest logit of each row, banned or not; a NaN counts as the
            largest.
    """

    def __init__(self, logits: Float32) -> None:
        rows, vocabulary = logits.shape
        self._logits = logits
        self.tokens: Int64 = np.zeros(rows, np.int64)
        self.top: Float32 = np.zeros(rows, np.float32)
        self._named: Int64 = np.zeros(rows, np.int64)
        self._found: Float32 = np.zeros(rows, np.float32)
        self._library: ctypes.CDLL | None = None
        kernels = _choosing_kernels() if logits.flags.c_contiguous else None
        if kernels is None:
            return
        self._library, isa = kernels.library_for(logits.size), kernels.isa
        addresses = logits.ctypes.data, self.tokens.ctypes.data, self.top.ctypes.data
        self._choices = _ChoicesStruct(
            addresses[0], None, *addresses[1:], rows=rows, vocabulary_size=vocabulary
        )
        self._probabilities = _ProbabilitiesStruct(
            *addresses,
            self._named.ctypes.data,
            self._found.ctypes.data,
            vocabulary_size=vocabulary,
        )
        self._choice = ctypes.byref(self._choices), isa, 1
        self._softmax = ctypes.byref(self._probabilities), isa, 1

    def choose(self, banned: Int32) -> None:
        """Choose for each row: the best token that is not banned, the smallest of equals.

        Args:
            banned: [N, W] tokens that may not be chosen, padded with -1.
        """
        if self._library is None:
            self._choose_by_numpy(banned)
            return
        bans = banned.shape[1]
        if bans:
            banned = np.ascontiguousarray(banned, np.int32)
            self._choices.banned = banned.ctypes.data
        self._choices.bans = bans
        self._library.c2t_choose(*self._choice)

    def probabilities(self, named: Sequence[int] | Int64) -> Float32:
        """Softmax probabilities [M], before the ban, of the chosen tokens of M <= N rows.

        They are valid until the next call.
        """
        count = len(named)
        rows, found = self._named[:count], self._found[:count]
        rows[:] = named
        if self._library is None:
            top = self.top[rows]
            chosen = np.exp(self._logits[rows, self.tokens[rows]] - top)
            shares = np.exp(self._logits[rows] - top[:, None])
            np.divide(chosen, shares.sum(axis=1), out=found)
            return found
        self._probabilities.count = count
        self._library.c2t_probabilities(*self._softmax)
        return found

    def _choose_by_numpy(self, banned: Int32) -> None:
        logits = self._logits
        best = logits.argmax(axis=1)
        self.top[:] = logits[np.arange(len(best)), best]
        for row in np.flatnonzero((banned == best[:, None]).any(axis=1)):
            allowed = logits[row].copy()
            allowed[banned[row][banned[row] >= 0]] = -np.inf
            best[row] = allowed.argmax()
        self.tokens[:] = best


def _choosing_kernels() -> NativeKernels | None:
    """The library and the implementation to use; None where NumPy is faster.

    Plain C++ is used only where `C2T_FORCE_ISA=scalar` asks for it.
    """
    kernels = native_kernels()
    if kernels is None or kernels.isa == ISA_NUMBER["neon"]:
        return None
    if kernels.isa == ISA_NUMBER["scalar"] and not os.environ.get(FORCE_VARIABLE):
        return None
    return kernels
