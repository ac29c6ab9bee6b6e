"""Rotary positions in a config: which schemes are taken, whatever the family.

One decision: each scheme has the fields that transformers reads for it. A field that nothing reads
is refused like an unknown scheme: it would change the model's angles elsewhere.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from c2t.export.decoders.parts import sizes_of
from c2t.export.model.family import check_number, is_positive
from c2t.runtime.system.errors import CheckpointError

# Rotary schemes whose angles depend on the position alone, below `max_position_embeddings`, with
# the fields of `rope_scaling` that transformers reads for each. Not longrope: its angles depend on
# the length of the whole sequence.
_LONGER = ("factor", "original_max_position_embeddings")
ROPE_TYPES = {
    "default": (),
    "linear": ("factor",),
    "dynamic": _LONGER,
    "llama3": (*_LONGER, "low_freq_factor", "high_freq_factor"),
    "yarn": (
        *_LONGER,
        *("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    ),
}
# Fields of `rope_scaling` that say what was done, not what to do.
_ROPE_NOTES = {"rope_type", "type", "finetuned"}
SETTINGS = frozenset({"rope_theta", "rope_scaling", "max_position_embeddings"})
# Of families that rotate whole heads: the angles of a part are others.
WHOLE_HEADS = {"partial_rotary_factor": 1.0, "rotary_pct": 1.0}


def check_rope(config: PretrainedConfig) -> None:
    """Refuse rotary positions of another scheme, or with numbers that give no angles.

    Raises:
        CheckpointError: Names the scheme or the field.
    """
    check_number(config, "rope_theta", part="decoder")
    scaling = getattr(config, "rope_scaling", None) or {}
    rope = scaling.get("rope_type", scaling.get("type", "default"))
    if rope not in ROPE_TYPES:
        problem = f"the decoder's rotary scheme is {rope!r}"
        raise CheckpointError(problem, hint=f"c2t exports {', '.join(ROPE_TYPES)}")
    unread = sorted(scaling.keys() - {*ROPE_TYPES[rope]} - _ROPE_NOTES)
    if unread:
        problem = f"the decoder's rope_scaling of type {rope} has {unread[0]}, which nothing reads"
        raise CheckpointError(problem, hint="check rope_scaling in its config.json")
    numbers = {name: scaling[name] for name in ROPE_TYPES[rope] if scaling.get(name) is not None}
    wrong = [name for name, value in numbers.items() if not is_positive(value)]
    wrong = [name for name in wrong if name != "truncate"]
    if rope == "llama3" and not wrong and numbers["low_freq_factor"] == numbers["high_freq_factor"]:
        wrong = ["high_freq_factor"]
    if wrong:
        problem = f"the decoder's rope_scaling has {wrong[0]} {scaling[wrong[0]]!r}"
        raise CheckpointError(problem, hint="check rope_scaling in its config.json")


def check_rotated_part(config: PretrainedConfig, name: str) -> None:
    """Refuse a share of each head that cannot be rotated.

    Args:
        config: The decoder's.
        name: The field that says the share.

    Raises:
        CheckpointError: Names the field and its value.
    """
    share, size = getattr(config, name), sizes_of(config).head_size
    if not is_positive(share) or share > 1 or int(size * share) < 2 or int(size * share) % 2:
        problem = f"the decoder's {name} is {share!r}, of heads of {size} numbers"
        hint = "an even number of at least 2 of them must be rotated: check its config.json"
        raise CheckpointError(problem, hint=hint)


def translate_rope(
    fields: dict[str, Any], *, theta: str = "rope_theta", share: str = "partial_rotary_factor"
) -> dict[str, Any]:
    """Fields of a config.json of transformers 5 as those before it: rope_parameters is new.

    Args:
        fields: Of config.json.
        theta: What the family calls the base of the angles.
        share: What it calls the share of each head that is rotated.

    Raises:
        CheckpointError: rope_scaling is no object; or rope_parameters lacks the base of the angles,
            contradicts older fields beside it, or has one set for each type of layer.
    """
    fields = dict(fields)
    scaling = fields.get("rope_scaling")
    if scaling is not None and not isinstance(scaling, dict):
        problem = f"rope_scaling is {scaling!r}: not one set of numbers"
        raise CheckpointError(problem, hint="check rope_scaling in the decoder's config.json")
    _join(fields, "rope_theta", theta)
    _join(fields, "partial_rotary_factor", share)
    rope = fields.pop("rope_parameters", None)
    if rope is None:
        return fields
    hint = "check rope_parameters in the decoder's config.json"
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        problem = f"rope_parameters is {rope!r}: not one set of numbers"
        raise CheckpointError(problem, hint=hint)
    rope = dict(rope)
    if "rope_theta" not in rope:
        problem = "rope_parameters names no rope_theta, the base of the rotary angles"
        raise CheckpointError(problem, hint=hint)
    base, part = rope.pop("rope_theta"), rope.pop("partial_rotary_factor", None)
    scaling = rope if rope.get("rope_type", "default") != "default" else None
    stated = {theta: base, "rope_scaling": scaling}
    if part is not None or share == "partial_rotary_factor":
        stated[share] = 1.0 if part is None else part
    for name, value in stated.items():
        if fields.get(name, value) not in (value, None):
            problem = f"{name} is {fields[name]!r}, but rope_parameters says {value!r}"
            raise CheckpointError(problem, hint=hint)
        fields[name] = value
    return fields


def _join(fields: dict[str, Any], name: str, own: str) -> None:
    """Take a field that newer saves hold under two names, which must agree.

    Raises:
        CheckpointError: They differ.
    """
    if name == own or name not in fields:
        return
    value = fields.pop(name)
    if value is None:
        return
    if fields.get(own, value) not in (value, None):
        problem = f"{name} is {value!r}, but {own} is {fields[own]!r}"
        raise CheckpointError(problem, hint="they are one number: check the decoder's config.json")
    fields[own] = value
