"""What a decoder is made of, in the words that all families share: the input of the graph writer.

One decision: a family's file says which of its modules plays which part, and nothing of how a graph
is written. So each kind of norm, attention and MLP is written, and tested, once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from transformers import PretrainedConfig

Activation = Literal["silu", "gelu", "gelu_tanh"]


class Rotary(Protocol):
    """The rotary embedding of transformers, any family's."""

    inv_freq: Tensor  # [rotated numbers of a head / 2]
    attention_scaling: float


@dataclass(frozen=True, kw_only=True)
class DecoderSizes:
    """Sizes that every config states, under these or other names."""

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate_size: int
    vocabulary_size: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """A normalisation over the last dimension.

    Attributes:
        weight: [D], what the normalised value is multiplied by.
        epsilon: Added to the variance.
        centred: LayerNorm, which subtracts the mean; else RMSNorm.
        bias: [D] of a LayerNorm.
    """

    weight: Tensor
    epsilon: float
    centred: bool = False
    bias: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A linear: its weight [outputs, inputs], as PyTorch keeps it, and perhaps a bias [outputs]."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """Attention with grouped heads and rotary positions.

    Attributes:
        q: [heads * head_size, D].
        k: [kv_heads * head_size, D].
        v: The same.
        output: [D, heads * head_size].
        scale: What products of queries and keys are multiplied by.
        q_norm: Over each head of the queries, before they are rotated.
        k_norm: The same of the keys.
        softcap: c of c * tanh(product / c); 0: none.
        window: How many cache positions a row sees, its own included; None: all before it.
    """

    q: Matrix
    k: Matrix
    v: Matrix
    output: Matrix
    scale: float
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    softcap: float = 0.0
    window: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Mlp:
    """down(activation(gate(x)) * up(x)); without a gate down(activation(up(x)))."""

    up: Matrix
    down: Matrix
    activation: Activation
    gate: Matrix | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """x += attention(norm(x)), then x += mlp(norm(x)).

    Attributes:
        attention: Its attention.
        attention_norm: Before it.
        mlp: Its MLP.
        mlp_norm: Before it.
        after_attention: Over attention's result, before it is added.
        after_mlp: The same of the MLP's.
        parallel: The MLP reads the layer's input, not what attention made of it.
    """

    attention: Attention
    attention_norm: Norm
    mlp: Mlp
    mlp_norm: Norm
    after_attention: Norm | None = None
    after_mlp: Norm | None = None
    parallel: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class DecoderParts:
    """A whole decoder.

    Attributes:
        sizes: Its sizes.
        rotary: Its rotary embedding.
        layers: Its layers, made one at a time where they copy weights.
        norm: The last norm.
        token_table: [V, D].
        output_table: [V, D]; the same tensor where the two are tied.
        embedding_scale: What input rows are multiplied by.
        logit_cap: c of c * tanh(logit / c); 0: none.
    """

    sizes: DecoderSizes
    rotary: Rotary
    layers: Iterable[Layer]
    norm: Norm
    token_table: Tensor
    output_table: Tensor
    embedding_scale: float = 1.0
    logit_cap: float = 0.0


def sizes_of(config: PretrainedConfig) -> DecoderSizes:
    """The sizes in a config; those that older configs leave out follow from the others."""
    heads = int(config.num_attention_heads)
    return DecoderSizes(
        layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_size=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        intermediate_size=int(config.intermediate_size),
        vocabulary_size=int(config.vocab_size),
    )
