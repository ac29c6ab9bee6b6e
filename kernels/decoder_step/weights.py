"""A decoder's weights on the host, as the definition and the packing read them.

One decision: what only some families have is optional, and left out it is a Llama's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from c2t.kernels.linears.matrix import Matrix

    Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerBiases:
    """What a layer's norms and linears add; None: nothing.

    Args:
        attention_norm: [D]. A norm with a bias is a layer norm; one without is an RMS norm.
        qkv: [(heads + 2 kv_heads) * head_size].
        o: [D].
        mlp_norm: [D], as `attention_norm`.
        gate_up: As many as the matrix has columns.
        down: [D].
    """

    attention_norm: Float32 | None = None
    qkv: Float32 | None = None
    o: Float32 | None = None
    mlp_norm: Float32 | None = None
    gate_up: Float32 | None = None
    down: Float32 | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class HostLayer:
    """A layer's weights; matrices are float32, float16 or int8, memory-mapped or not.

    Args:
        attention_norm: [D] of the norm before attention.
        qkv: [D, (heads + 2 kv_heads) * head_size], queries, keys and values side by side.
        o: [heads * head_size, D].
        mlp_norm: [D] of the norm before the MLP.
        gate_up: [D, 2 F], gates and the numbers that they multiply side by side; [D, F] of a
            decoder without gates.
        down: [F, D].
        biases: Of the norms and linears.
        q_norm: [head_size] of the RMS norm of each head's queries, before they are rotated.
        k_norm: The same of its keys.
        after_attention: [D] of the RMS norm of what attention adds to the residual stream.
        after_mlp: The same of the MLP.
        window: How many cache positions a token sees, its own included; 0: all before it.
    """

    attention_norm: Float32
    qkv: Matrix
    o: Matrix
    mlp_norm: Float32
    gate_up: Matrix
    down: Matrix
    biases: LayerBiases = LayerBiases()
    q_norm: Float32 | None = None
    k_norm: Float32 | None = None
    after_attention: Float32 | None = None
    after_mlp: Float32 | None = None
    window: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class HostDecoder:
    """All weights of a decoder.

    Args:
        layers: Read once, in order.
        norm: [D] of the last norm.
        lm_head: [V, D].
        cosines: [positions, numbers of a head that are rotated / 2]; the first numbers are.
        sines: As `cosines`.
        epsilon: Added to the mean square, or the variance, in every norm.
        scale: Of the product of queries and keys.
        norm_bias: [D] of the last norm, where it is a layer norm.
        activation: Of the MLPs, one of `c2t.kernels.linears.activations`.
        gated: Whether an MLP has gates, which are activated and multiply its other numbers.
        parallel: Whether an MLP reads what its layer's attention reads, not what that made of it.
        attention_cap: c of c * tanh(product / c) of queries and keys; 0: none.
        logit_cap: The same of the logits.
        embedding_scale: What embeddings are multiplied by.
    """

    layers: Iterable[HostLayer]
    norm: Float32
    lm_head: Matrix
    cosines: Float32
    sines: Float32
    epsilon: float
    scale: float
    norm_bias: Float32 | None = None
    activation: str = "silu"
    gated: bool = True
    parallel: bool = False
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    embedding_scale: float = 1.0
