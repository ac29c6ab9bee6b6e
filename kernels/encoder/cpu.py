"""An encoder on the CPU: all of its layers, and its projector, in one native call.

One decision: a cell's numbers depend neither on the other cells nor on the number of threads.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from c2t.kernels.attention.cpu import HEAD_SIZE_MAX
from c2t.kernels.linears.activations import ACTIVATIONS
from c2t.kernels.linears.pack import MAX_INPUTS, BiasedStruct, PackedWeights
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
    from numpy.typing import NDArray

    from c2t.kernels.encoder.weights import (
        BiasedLinear,
        EncoderLayer,
        HostEncoder,
        HostProjector,
    )

    Float32 = NDArray[np.float32]

# Elsewhere ONNX Runtime's linears are faster.
FAST = ("avx512", "amx")


class _LayerStruct(ctypes.Structure):
    """`struct c2t_encoder_layer`."""

    _fields_ = (
        ("qkv", BiasedStruct),
        ("query", BiasedStruct),
        ("output", BiasedStruct),
        ("up", BiasedStruct),
        ("down", BiasedStruct),
        ("attention_norm", ctypes.c_void_p),
        ("attention_norm_bias", ctypes.c_void_p),
        ("mlp_norm", ctypes.c_void_p),
        ("mlp_norm_bias", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
    )


class _ProjectorStruct(ctypes.Structure):
    """`struct c2t_projector`."""

    _fields_ = (
        ("up", BiasedStruct),
        ("down", BiasedStruct),
        ("up_norm", ctypes.c_void_p),
        ("up_norm_bias", ctypes.c_void_p),
        ("down_norm", ctypes.c_void_p),
        ("down_norm_bias", ctypes.c_void_p),
        ("intermediate_size", ctypes.c_int64),
        ("vector_size", ctypes.c_int64),
        ("up_epsilon", ctypes.c_float),
        ("down_epsilon", ctypes.c_float),
    )


class _EncoderStruct(ctypes.Structure):
    """`struct c2t_encoder`."""

    _fields_ = (
        ("layers", ctypes.POINTER(_LayerStruct)),
        ("projector", ctypes.POINTER(_ProjectorStruct)),
        ("layer_count", ctypes.c_int64),
        ("hidden_size", ctypes.c_int64),
        ("intermediate_size", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("activation", ctypes.c_int32),
    )


class _RunStruct(ctypes.Structure):
    """`struct c2t_encoder_args`."""

    _fields_ = (
        ("embeddings", ctypes.c_void_p),
        ("hidden", ctypes.c_void_p),
        ("vectors", ctypes.c_void_p),
        ("projector_seconds", ctypes.c_double),
        ("batch", ctypes.c_int64),
        ("length", ctypes.c_int64),
    )


class Encoded(NamedTuple):
    """What a run gives.

    Args:
        hidden: [B, R, H] of the last layer's rows.
        vectors: [B, R, D] of the projector; None where there is none.
        projector_seconds: The projector's part of the time.
    """

    hidden: Float32
    vectors: Float32 | None
    projector_seconds: float


def encoder_kernels() -> NativeKernels | None:
    """The library with an encoder that is faster than ONNX Runtime's here; None without one.

    `C2T_FORCE_ISA` takes any, for tests.
    """
    kernels = native_kernels()
    if kernels is None:
        return None
    name = fastest(kernels, "c2t_encoder_isa_mask")
    if name not in FAST and not os.environ.get(FORCE_VARIABLE):
        return None
    return NativeKernels(library=kernels.library, isa=ISA_NUMBER[name])


def encoder_problem(encoder: HostEncoder) -> str:
    """Why the library cannot run such an encoder; empty where it can."""
    hidden, wide = encoder.hidden_size, encoder.intermediate_size
    if encoder.heads < 1 or hidden % encoder.heads or hidden // encoder.heads > HEAD_SIZE_MAX:
        return f"{encoder.heads} heads over {hidden} columns"
    *others, last = encoder.layers
    if any(layer.query is not None for layer in others):
        return "queries of their own in a layer that is not the last"
    if (last.query is None) != (encoder.rows is None):
        return f"{encoder.rows} rows of the last layer, whose queries are not of some rows"
    if not encoder.scale > 0:
        return f"a scale of {encoder.scale}"
    return f"a linear of {max(hidden, wide)} inputs" if max(hidden, wide) > MAX_INPUTS else ""


def projector_problem(projector: HostProjector, hidden_size: int) -> str:
    """Why the library cannot run such a projector behind an encoder; empty where it can."""
    inputs, wide = projector.inputs, len(projector.up.bias)
    if inputs != hidden_size:
        return f"a projector of {inputs} inputs behind {hidden_size} columns"
    return f"a linear of {wide} inputs" if wide > MAX_INPUTS else ""


class PackedEncoder(PackedWeights):
    """An encoder's weights as the library streams them; any number of runs share them.

    Args:
        kernels: Of `encoder_kernels`.
        encoder: Its weights, which `encoder_problem` has nothing against; copied.
        projector: Likewise what is to run behind it, and `projector_problem`.
        threads: How many pack them; None: one per core that this process may use.

    Raises:
        KernelError: A matrix that the library does not take.
        MemoryError: There is no memory for the weights.
    """

    def __init__(
        self,
        kernels: NativeKernels,
        encoder: HostEncoder,
        projector: HostProjector | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        super().__init__(kernels, threads)
        self.rows = encoder.rows
        self.hidden_size = encoder.hidden_size
        layers = [self._layer(layer, encoder.rows) for layer in encoder.layers]
        array = (_LayerStruct * len(layers))(*layers)
        self._kept.append(array)
        self.struct = _EncoderStruct(
            array,
            None if projector is None else ctypes.pointer(self._projector(projector)),
            len(layers),
            encoder.hidden_size,
            encoder.intermediate_size,
            encoder.heads,
            encoder.epsilon,
            encoder.scale,
            ACTIVATIONS.index(encoder.activation),
        )

    def part(self, first: int, end: int) -> EncoderPart:
        """Layers [first, end) as an encoder of their own, without the projector."""
        struct = _EncoderStruct.from_buffer_copy(self.struct)
        address = ctypes.addressof(self.struct.layers.contents)
        address += first * ctypes.sizeof(_LayerStruct)
        struct.layers = ctypes.cast(address, ctypes.POINTER(_LayerStruct))
        rows = self.rows if end == struct.layer_count else None
        struct.projector = None
        struct.layer_count = end - first
        return EncoderPart(self, struct, rows)

    def _layer(self, layer: EncoderLayer, rows: int | None) -> _LayerStruct:
        norms = (layer.attention_norm, layer.mlp_norm)
        query = BiasedStruct() if layer.query is None else self._biased(layer.query)
        return _LayerStruct(
            self._biased(layer.qkv),
            query,
            *(self._biased(linear) for linear in (layer.output, layer.up, layer.down)),
            *(self.keep(part) for norm in norms for part in (norm.weight, norm.bias)),
            0 if layer.query is None or rows is None else rows,
        )

    def _projector(self, projector: HostProjector) -> _ProjectorStruct:
        up, down = (self._biased(linear) for linear in (projector.up, projector.down))
        norms = (projector.up_norm, projector.down_norm)
        struct = _ProjectorStruct(
            up,
            down,
            *(self.keep(part) for norm in norms for part in (norm.weight, norm.bias)),
            len(projector.up.bias),
            projector.vector_size,
            projector.up_epsilon,
            projector.down_epsilon,
        )
        self._kept.append(struct)
        return struct

    def _biased(self, linear: BiasedLinear) -> BiasedStruct:
        return self.pack_biased(linear.matrix, linear.bias)


class EncoderPart:
    """Some layers of a packed encoder; see `PackedEncoder.part`.

    Args:
        whole: Kept, because the structure points into it.
        struct: What the library reads.
        rows: How many rows leave the last of the layers; None: all.
    """

    def __init__(self, whole: PackedEncoder, struct: _EncoderStruct, rows: int | None) -> None:
        self.kernels, self.hidden_size = whole.kernels, whole.hidden_size
        self.struct, self.rows = struct, rows
        self._whole = whole


class CpuEncoder:
    """The threads and the memory that run an encoder.

    Several threads may call `run`; one waits for the other.

    Args:
        packed: The encoder's weights, or a part of them.
        threads: How many to use; None: one per core that this process may use.
        spin: Whether threads wait for the next run by spinning, for a third of a millisecond.

    Raises:
        MemoryError: There is no memory for the activations.
    """

    def __init__(
        self,
        packed: PackedEncoder | EncoderPart,
        *,
        threads: int | None = None,
        spin: bool = True,
    ) -> None:
        self.packed = packed
        self._options = (thread_count(threads), spin)
        self._opened = OpenedModel(
            packed.kernels, "c2t_encoder", packed.struct, self._options[0], spin=spin
        )
        self.close = self._opened.close

    def clone(self) -> CpuEncoder:
        """The same weights with threads and memory of its own."""
        threads, spin = self._options
        return CpuEncoder(self.packed, threads=threads, spin=spin)

    def run(self, embeddings: Float32, *, used_up: bool = False) -> Encoded:
        """The last layer's rows of cells of equal length, and what the projector makes of them.

        All numbers of a cell are NaN where one of them is not finite.

        Args:
            embeddings: [B, S, H] float32.
            used_up: Whether the array may be written to, which saves a copy of it.

        Raises:
            ValueError: Another dtype or shape.
            MemoryError: The library ran out of memory.
        """
        if embeddings.dtype != np.float32 or embeddings.shape[2:] != (self.packed.hidden_size,):
            message = f"embeddings are {embeddings.dtype} {list(embeddings.shape)}"
            raise ValueError(message)
        copied = None if used_up and embeddings.flags.c_contiguous else True
        embeddings = np.array(embeddings, order="C", copy=copied)
        batch, length, _ = embeddings.shape
        most = self.packed.rows
        rows = length if most is None else min(length, most)
        hidden = np.empty((batch, rows, self.packed.hidden_size), np.float32)
        projector, vectors = self.packed.struct.projector, None
        if projector:
            vectors = np.empty((batch, rows, projector.contents.vector_size), np.float32)
        if hidden.size == 0:
            return Encoded(hidden, vectors, 0.0)
        struct = _RunStruct(
            embeddings.ctypes.data,
            hidden.ctypes.data,
            None if vectors is None else vectors.ctypes.data,
            batch=batch,
            length=length,
        )
        self._opened.run("c2t_encoder_compute", struct)
        return Encoded(hidden, vectors, struct.projector_seconds)
