"""What every family checks in a decoder's config: activation, heads, sliding windows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from transformers import PretrainedConfig

from c2t.export.decoders.parts import sizes_of
from c2t.export.model.family import check_sizes, is_positive
from c2t.runtime.system.errors import CheckpointError

# Names of SiLU in configs.
SILU = ("silu", "swish")
# Names of GELU by the error function, and of its approximation by tanh.
GELU = ("gelu", "gelu_python")
GELU_TANH = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
FULL, SLIDING = "full_attention", "sliding_attention"


def check_activation(
    config: PretrainedConfig, known: Collection[str], *, family: str, name: str = "hidden_act"
) -> None:
    """Refuse an activation that the family's graph does not have.

    Raises:
        CheckpointError: Names it.
    """
    activation = getattr(config, name)
    if activation not in known:
        problem = f"the decoder's activation is {activation!r}"
        usual = " or ".join(known)
        raise CheckpointError(problem, hint=f"c2t exports {family} decoders, which use {usual}")


def check_heads(config: PretrainedConfig) -> None:
    """Refuse sizes that no heads can be made with.

    Raises:
        CheckpointError: Names the numbers.
    """
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    optional = [
        name
        for name in ("num_key_value_heads", "head_dim")
        if getattr(config, name, None) is not None
    ]
    names = (*sizes, "num_attention_heads", *optional, "max_position_embeddings")
    check_sizes(config, names, part="decoder")
    found = sizes_of(config)
    hint = "check num_attention_heads, num_key_value_heads and head_dim in its config.json"
    if found.heads % found.kv_heads:
        problem = (
            f"the decoder's {found.heads} attention heads cannot share {found.kv_heads} "
            "key-value heads"
        )
        raise CheckpointError(problem, hint=hint)
    size = found.head_size
    if size < 2 or size % 2:
        problem = f"the decoder's heads have {size} numbers: rotary positions need an even number"
        raise CheckpointError(problem, hint=hint)


def check_window(config: PretrainedConfig) -> None:
    """Refuse a sliding window of no size, and types of layers that there are none of.

    Raises:
        CheckpointError: Names the field and its value.
    """
    window, hint = getattr(config, "sliding_window", None), "check its config.json"
    if window is not None and (not isinstance(window, int) or not is_positive(window)):
        problem = f"the decoder's sliding_window is {window!r}; it must be a number of positions"
        raise CheckpointError(problem, hint=hint)
    types = getattr(config, "layer_types", None)
    if types is None:
        return
    unknown = [kind for kind in types if kind not in (FULL, SLIDING)]
    if unknown or len(types) != config.num_hidden_layers:
        what = f"has {unknown[0]!r}" if unknown else f"names {len(types)} layers"
        problem = f"the decoder's layer_types {what}, its layers are {config.num_hidden_layers}"
        raise CheckpointError(problem, hint=f"c2t exports layers of {FULL} and {SLIDING}")
    if SLIDING in types and window is None:
        problem = f"the decoder's layer_types has {SLIDING!r}, but it has no sliding_window"
        raise CheckpointError(problem, hint=hint)


def window_of(config: PretrainedConfig, index: int) -> int | None:
    """The window of a layer, where its config has a type for each layer."""
    return int(config.sliding_window) if config.layer_types[index] == SLIDING else None


def without_null(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """Fields less those that are null: transformers then takes what it takes without them."""
    return {name: value for name, value in fields.items() if value is not None or name not in names}
