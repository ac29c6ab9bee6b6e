"""The step of a decoder on the CPU: one native call, on threads of its own.

One decision: the numbers of a row depend neither on the other rows nor on the number of threads. So
a step of many rows is run in several, to the same bits.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.decoder_step.packed_decoder import DecoderPart, PackedDecoder
from c2t.kernels.native import (
    FORCE_VARIABLE,
    ISA_NUMBER,
    NativeKernels,
    OpenedModel,
    fastest,
    native_kernels,
    thread_count,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]

# Rows of one native call. More would need more memory, and are no faster.
MAX_ROWS = 512


class _StepStruct(ctypes.Structure):
    """`struct c2t_step_args`."""

    _fields_ = (
        ("embeds", ctypes.c_void_p),
        ("positions", ctypes.c_void_p),
        ("batch_rows", ctypes.c_void_p),
        ("cache_index", ctypes.c_void_p),
        ("logit_rows", ctypes.c_void_p),
        ("cache", ctypes.c_void_p),
        ("prefix", ctypes.c_void_p),
        ("shared", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("logit_count", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("capacity", ctypes.c_int64),
        ("prefix_length", ctypes.c_int64),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class SharedPrefix:
    """Keys and values that several batch rows begin with, kept once beside the cache.

    Args:
        keys_values: [layers, 2, kv_heads, P, head_size], contiguous.
        lengths: [B] int64, how many first positions of each batch row of the cache lie here, at
            most P; may change between runs. What the cache holds there is not read.
    """

    keys_values: Float32
    lengths: Int64


def step_kernels() -> NativeKernels | None:
    """The library with the fastest implementation of a step that runs here; None without one.

    Plain C++ is none: ONNX Runtime is faster. `C2T_FORCE_ISA=scalar` takes it, for tests.
    """
    kernels = native_kernels()
    if kernels is None:
        return None
    name = fastest(kernels, "c2t_step_isa_mask")
    if name == "scalar" and not os.environ.get(FORCE_VARIABLE):
        return None
    return NativeKernels(library=kernels.library, isa=ISA_NUMBER[name])


class CpuDecoderStep:
    """The threads and the memory that run steps of a decoder.

    Several threads may call `run`; one waits for the other.

    Args:
        packed: The decoder's weights, or a part of them.
        threads: How many to use; None: one per core that this process may use.
        spin: Whether threads wait for the next step by spinning, for a third of a millisecond.

    Raises:
        MemoryError: There is no memory for the activations.
    """

    def __init__(
        self,
        packed: PackedDecoder | DecoderPart,
        *,
        threads: int | None = None,
        spin: bool = True,
    ) -> None:
        self.packed = packed
        self._options = (thread_count(threads), spin)
        self._opened = OpenedModel(
            packed.kernels, "c2t_step", packed.struct, self._options[0], spin=spin
        )
        self.close = self._opened.close

    def clone(self) -> CpuDecoderStep:
        """The same weights with threads and memory of its own."""
        threads, spin = self._options
        return CpuDecoderStep(self.packed, threads=threads, spin=spin)

    def bind(
        self,
        embeds: Float32,
        cache: Float32,
        logits: Float32,
        *,
        positions: Int64,
        write_index: Int64,
        logit_rows: Int64,
        first: int = 0,
        shared: SharedPrefix | None = None,
    ) -> Callable[[], None]:
        """What runs T tokens of each of B batch rows, with what the arrays hold then.

        It writes their keys and values to the cache.

        Args:
            embeds: [B, T, D].
            cache: [layers, 2, rows, kv_heads, C, head_size], changed in place.
            logits: [B, R, V], written; NaN where a row's numbers are not finite.
            positions: [B, T] of the rotary embedding; must lie inside its tables.
            write_index: [B] cache position of a batch row's first token, at most C - T, and not
                among those that are shared.
            logit_rows: [B, R] tokens whose logits are wanted.
            first: Batch row of the cache that is the first of the B.
            shared: Keys and values that lie outside the cache; None: it has all.

        Returns:
            The function. It raises `MemoryError` where the library runs out of memory.

        Raises:
            ValueError: An array is not contiguous.
        """
        arrays = (embeds, cache, logits, positions, write_index, logit_rows)
        if not all(array.flags.c_contiguous for array in arrays):
            message = "a step of arrays that are not contiguous"
            raise ValueError(message)
        if positions.size <= MAX_ROWS:
            return _BoundRun(self, arrays, first, shared).run
        return partial(self._run_parts, *arrays, first, shared)

    def run(
        self,
        embeds: Float32,
        cache: Float32,
        logits: Float32,
        *,
        positions: Int64,
        write_index: Int64,
        logit_rows: Int64,
        first: int = 0,
        shared: SharedPrefix | None = None,
    ) -> None:
        """Run once what `bind` binds; the index arrays may be of any kind of integers."""
        positions, write_index, logit_rows = (
            np.ascontiguousarray(array, np.int64) for array in (positions, write_index, logit_rows)
        )
        self.bind(
            embeds,
            cache,
            logits,
            positions=positions,
            write_index=write_index,
            logit_rows=logit_rows,
            first=first,
            shared=shared,
        )()

    def run_struct(self, struct: _StepStruct) -> None:
        """One native call.

        Raises:
            MemoryError: The library ran out of memory.
        """
        self._opened.run("c2t_step_run", struct)

    def _run_parts(
        self,
        embeds: Float32,
        cache: Float32,
        logits: Float32,
        positions: Int64,
        write_index: Int64,
        logit_rows: Int64,
        first: int,
        shared: SharedPrefix | None,
    ) -> None:
        """Run in several native calls."""
        batch, tokens = positions.shape
        index = write_index[:, None] + np.arange(tokens)
        batch_rows = np.repeat(np.arange(first, first + batch), tokens)
        wanted = (np.arange(batch)[:, None] * tokens + logit_rows).reshape(-1)
        rows, flat_positions = embeds.reshape(batch * tokens, -1), positions.reshape(-1)
        flat_index, flat_logits = index.reshape(-1), logits.reshape(len(wanted), logits.shape[-1])
        for begin in range(0, len(rows), MAX_ROWS):
            end = min(begin + MAX_ROWS, len(rows))
            (chosen,) = np.nonzero((wanted >= begin) & (wanted < end))
            # Those of a part lie together, unless logit rows are out of order.
            together = len(chosen) == 0 or chosen[-1] - chosen[0] == len(chosen) - 1
            place = slice(chosen[0], chosen[-1] + 1) if together and len(chosen) else chosen
            out = flat_logits[place]
            arrays = (
                rows[begin:end],
                flat_positions[begin:end],
                batch_rows[begin:end],
                flat_index[begin:end],
                wanted[chosen] - begin,
                cache,
                out,
            )
            self.run_struct(_step_struct(arrays, cache, shared))
            if not together:
                flat_logits[place] = out


class _BoundRun:
    """A run whose arrays keep their memory: the structure that the library reads exists already.

    Args:
        step: Runs it.
        arrays: embeds [B, T, D], cache, logits [B, R, V], positions [B, T], write_index [B] and
            logit_rows [B, R] of `CpuDecoderStep.run`, contiguous, int64.
        first: Batch row of the cache that is the first of the B.
        shared: See `CpuDecoderStep.bind`.
    """

    def __init__(
        self,
        step: CpuDecoderStep,
        arrays: tuple[NDArray[Any], ...],
        first: int,
        shared: SharedPrefix | None,
    ) -> None:
        embeds, cache, logits, positions, write_index, logit_rows = arrays
        batch, tokens = positions.shape
        self._step, self._kept = step, (arrays, shared)
        self._starts, self._logit_rows = write_index[:, None], logit_rows
        self._offsets = np.arange(tokens)
        self._first_rows = np.arange(batch)[:, None] * tokens
        self._cache_index: Int64 = np.empty((batch, tokens), np.int64)
        self._wanted: Int64 = np.empty(logit_rows.shape, np.int64)
        self._batch_rows = np.repeat(np.arange(first, first + batch), tokens)
        parts = (
            embeds.reshape(batch * tokens, -1),
            positions,
            self._batch_rows,
            self._cache_index,
            self._wanted,
            cache,
            logits.reshape(-1, logits.shape[-1]),
        )
        self._struct = _step_struct(parts, cache, shared)

    def run(self) -> None:
        """Run with what the arrays hold now.

        Raises:
            MemoryError: The library ran out of memory.
        """
        np.add(self._starts, self._offsets, out=self._cache_index)
        np.add(self._first_rows, self._logit_rows, out=self._wanted)
        self._step.run_struct(self._struct)


def _step_struct(
    arrays: tuple[NDArray[Any], ...], cache: Float32, shared: SharedPrefix | None
) -> _StepStruct:
    """The arrays are those of `struct c2t_step_args`, in order."""
    *inputs, logits = (array.ctypes.data for array in arrays)
    prefix, lengths, length = None, None, 0
    if shared is not None:
        prefix, lengths = shared.keys_values.ctypes.data, shared.lengths.ctypes.data
        length = shared.keys_values.shape[3]
    return _StepStruct(
        *inputs,
        prefix,
        lengths,
        logits,
        len(arrays[0]),
        len(arrays[-1]),
        cache.shape[2],
        cache.shape[4],
        length,
    )
