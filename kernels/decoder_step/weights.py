"""A Llama decoder's weights on the host, as the definition and the packing read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from c2t.kernels.linears.matrix import Matrix


@dataclass(frozen=True, eq=False, kw_only=True)
class HostLayer:
    """A layer's weights; matrices are float32, float16 or int8, memory-mapped or not.

    int8 is for the CPU's kernel and the definition.

    Args:
        attention_norm: [D] of the RMS norm before attention.
        qkv: [D, (heads + 2 kv_heads) * head_size], queries, keys and values side by side.
        o: [heads * head_size, D].
        mlp_norm: [D] of the RMS norm before the MLP.
        gate_up: [D, 2 F], gates and the numbers that they multiply side by side.
        down: [F, D].
    """

    attention_norm: NDArray[np.float32]
    qkv: Matrix
    o: Matrix
    mlp_norm: NDArray[np.float32]
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True, eq=False, kw_only=True)
class HostDecoder:
    """All weights of a decoder.

    Args:
        layers: Read once, in order.
        norm: [D] of the last RMS norm.
        lm_head: [V, D].
        cosines: [positions, head_size / 2] of the rotary embedding.
        sines: [positions, head_size / 2].
        epsilon: Added to the mean square in every RMS norm.
        scale: Of the product of queries and keys.
    """

    layers: Iterable[HostLayer]
    norm: NDArray[np.float32]
    lm_head: Matrix
    cosines: NDArray[np.float32]
    sines: NDArray[np.float32]
    epsilon: float
    scale: float
