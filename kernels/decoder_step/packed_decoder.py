"""A decoder's weights as the CPU's step streams them, and which decoders it takes."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer
from c2t.kernels.errors import KernelError
from c2t.kernels.linears.activations import ACTIVATIONS
from c2t.kernels.linears.pack import (
    MAX_INPUTS,
    BiasedStruct,
    LinearStruct,
    PackedWeights,
    packed_identity,
)
from c2t.kernels.native import NativeKernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.linears.stored import StoredArrays

    Float32 = NDArray[np.float32]


class _NormStruct(ctypes.Structure):
    """`struct c2t_step_norm`."""

    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class _LayerStruct(ctypes.Structure):
    """`struct c2t_step_layer`."""

    _fields_ = (
        ("attention_norm", _NormStruct),
        ("mlp_norm", _NormStruct),
        ("after_attention", ctypes.c_void_p),
        ("after_mlp", ctypes.c_void_p),
        ("q_norm", ctypes.c_void_p),
        ("k_norm", ctypes.c_void_p),
        ("qkv", BiasedStruct),
        ("output", BiasedStruct),
        ("gate_up", BiasedStruct),
        ("down", BiasedStruct),
        ("window", ctypes.c_int64),
    )


class _DecoderStruct(ctypes.Structure):
    """`struct c2t_step_decoder`."""

    _fields_ = (
        ("layers", ctypes.POINTER(_LayerStruct)),
        ("norm", _NormStruct),
        ("cosines", ctypes.c_void_p),
        ("sines", ctypes.c_void_p),
        ("lm_head", LinearStruct),
        ("layer_count", ctypes.c_int64),
        ("hidden_size", ctypes.c_int64),
        ("intermediate_size", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("head_size", ctypes.c_int64),
        ("vocabulary_size", ctypes.c_int64),
        ("rotated", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("attention_cap", ctypes.c_float),
        ("logit_cap", ctypes.c_float),
        ("embedding_scale", ctypes.c_float),
        ("activation", ctypes.c_int32),
        ("gated", ctypes.c_int32),
        ("parallel", ctypes.c_int32),
    )


def sizes_problem(sizes: StepSizes) -> str:
    """Why the step cannot run such a decoder; empty where it can."""
    for name, size in vars(sizes).items():
        if size < 1:
            return f"{name} is {size}"
    if sizes.heads % sizes.kv_heads:
        return f"{sizes.heads} query heads cannot share {sizes.kv_heads} KV heads"
    if sizes.head_size % 2:
        return f"a head size of {sizes.head_size}, which is odd"
    inputs = max(sizes.hidden_size, sizes.q_columns, sizes.intermediate_size)
    return f"a linear of {inputs} inputs" if inputs > MAX_INPUTS else ""


class PackedDecoder(PackedWeights):
    """A decoder's weights as the library streams them; any number of steps share them.

    Args:
        kernels: Of `step_kernels`.
        sizes: The decoder's.
        decoder: Its weights; copied.
        threads: How many pack them; None: one per core that this process may use.
        stored: Weights that were packed before; `decoder` then gives their shapes alone.

    Raises:
        KernelError: A matrix, or a combination of parts, that the library does not take; or stored
            weights of another decoder.
        MemoryError: There is no memory for the weights.
    """

    def __init__(
        self,
        kernels: NativeKernels,
        sizes: StepSizes,
        decoder: HostDecoder,
        *,
        threads: int | None = None,
        stored: StoredArrays | None = None,
    ) -> None:
        super().__init__(kernels, threads, stored)
        self.sizes = sizes
        self.positions = len(decoder.cosines)  # that the rotary embedding has
        # The largest first: the file's pages are in memory beside the copy while it is made.
        lm_head = self.pack(decoder.lm_head, by_output=True).struct
        layers = [self._layer(layer, decoder) for layer in decoder.layers]
        array = (_LayerStruct * len(layers))(*layers)
        self._kept.append(array)
        self.struct = _DecoderStruct(
            array,
            self._norm(decoder.norm, decoder.norm_bias),
            self.keep(decoder.cosines),
            self.keep(decoder.sines),
            lm_head,
            sizes.layers,
            sizes.hidden_size,
            sizes.intermediate_size,
            sizes.heads,
            sizes.kv_heads,
            sizes.head_size,
            sizes.vocabulary_size,
            2 * decoder.cosines.shape[1],
            decoder.epsilon,
            decoder.scale,
            decoder.attention_cap,
            decoder.logit_cap,
            decoder.embedding_scale,
            ACTIVATIONS.index(decoder.activation),
            decoder.gated,
            decoder.parallel,
        )
        if stored is not None:
            stored.check_end()

    def part(self, first: int, end: int, *, head: bool) -> DecoderPart:
        """Layers [first, end) as a decoder of their own, to be compared with others.

        Args:
            first: A layer; from 1 on, embeddings are what the layer before gives.
            end: The layer behind the last one.
            head: Whether logits are the decoder's. False: they are the residual stream [B,R,D] that
                the last layer leaves, normalised by its root mean square.
        """
        struct = _DecoderStruct.from_buffer_copy(self.struct)
        size = ctypes.sizeof(_LayerStruct)
        address = ctypes.addressof(self.struct.layers.contents) + first * size
        struct.layers = ctypes.cast(address, ctypes.POINTER(_LayerStruct))
        struct.layer_count = end - first
        if first > 0:
            struct.embedding_scale = 1.0
        kept = list[Any]()
        if not head:
            identity, ones = packed_identity(struct.hidden_size), np.ones(struct.hidden_size, "f4")
            kept += [identity, ones]
            struct.norm = _NormStruct(ones.ctypes.data, None)
            struct.lm_head, struct.vocabulary_size = identity.struct, struct.hidden_size
            struct.logit_cap = 0.0
        return DecoderPart(self, struct, kept)

    def _layer(self, layer: HostLayer, decoder: HostDecoder) -> _LayerStruct:
        biases = layer.biases
        after = (layer.after_attention, layer.after_mlp)
        if decoder.parallel and any(norm is not None for norm in after):
            problem = "a parallel residual with norms of what is added to it"
            raise KernelError(problem, hint="the step kernel knows one or the other")
        return _LayerStruct(
            self._norm(layer.attention_norm, biases.attention_norm),
            self._norm(layer.mlp_norm, biases.mlp_norm),
            *(self._optional(norm) for norm in (*after, layer.q_norm, layer.k_norm)),
            self.pack_biased(layer.qkv, biases.qkv),
            self.pack_biased(layer.o, biases.o),
            self.pack_biased(layer.gate_up, biases.gate_up, halves=decoder.gated),
            self.pack_biased(layer.down, biases.down),
            layer.window,
        )

    def _norm(self, weight: Float32, bias: Float32 | None) -> _NormStruct:
        return _NormStruct(self.keep(weight), self._optional(bias))

    def _optional(self, array: Float32 | None) -> int | None:
        return None if array is None else self.keep(array)


class DecoderPart:
    """Some layers of a packed decoder; see `PackedDecoder.part`.

    Args:
        whole: Kept, because the structure points into it.
        struct: What the library reads.
        kept: What else it points at.
    """

    def __init__(self, whole: PackedDecoder, struct: _DecoderStruct, kept: list[Any]) -> None:
        self.kernels, self.positions = whole.kernels, whole.positions
        self.struct = struct
        self._kept = [whole, *kept]
