"""Weights into modules: every tensor must find its place and every place its tensor.

One decision: modules are built without memory (torch's meta device) and the checkpoint's tensors
become their parameters. So memory-mapped float32 weights are used where they lie; other float types
are converted one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from c2t.export.checkpoint.tensors.weight_types import is_quantised, why_no_weight
from c2t.export.model.family import ModelFamily
from c2t.export.model.projector import Projector, ProjectorConfig
from c2t.export.projectors.families import build_projector, projector_family
from c2t.runtime.system.errors import CheckpointError

_Module = TypeVar("_Module", bound=nn.Module)


def build_empty(family: ModelFamily, config: PretrainedConfig) -> PreTrainedModel:
    """An encoder or decoder without memory for its weights."""
    with torch.device("meta"):
        return family.module(config)


def build_part(
    family: ModelFamily, config: PretrainedConfig, tensors: Mapping[str, Tensor], *, part: str
) -> Any:
    """An encoder or decoder with these weights, in evaluation mode.

    Args:
        family: Its family.
        config: Its sizes.
        tensors: The weights by their names in the module.
        part: "encoder" or "decoder", for errors.

    Raises:
        CheckpointError: Lists every tensor that is missing, has no place, or has another shape.
    """
    model = build_empty(family, config)
    needed = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in family.tolerated and not name.endswith(family.tolerated_endings)
    }
    tied = family.tied_names(config)
    places = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    # A head that no output depends on is taken where it fits, and zero where it is missing.
    heads = {name for name in {*needed, *places} if name.startswith(family.unneeded)}
    for name in heads & needed.keys():
        if tuple(needed[name].shape) != places.get(tied.get(name, name)):
            del needed[name]
    for name in heads & places.keys():
        first = tied.get(name, name)
        if first in heads and first not in needed and name not in needed:
            needed[first] = torch.zeros(places[first])
    fill(model, needed, part=part, tied=tied, can_be_tied=family.tied_by_config)
    family.restore_buffers(model)
    return _finished(model)


def build_projector_with(config: ProjectorConfig, tensors: Mapping[str, Tensor]) -> Projector:
    """A projector with these weights, in evaluation mode.

    Raises:
        CheckpointError: Lists every tensor that is missing, has no place, or has another shape.
    """
    with torch.device("meta"):
        model = build_projector(config)
    family = projector_family(config.kind)
    needed = {name: tensor for name, tensor in tensors.items() if not family.unneeded(name)}
    fill(model, {**family.buffers(config), **needed}, part="projector", tied={})
    return _finished(model)


def count_parameters(model: nn.Module) -> int:
    """Parameters of a model, with or without memory; a tied one counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def fill(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    part: str,
    tied: Mapping[str, str],
    can_be_tied: Mapping[str, str] | None = None,
) -> None:
    """Make the tensors the parameters of a module, in float32.

    Args:
        model: Built on the meta device.
        tensors: By their names in the module.
        part: What the module is, for the error.
        tied: Second names of tied tensors; they may be absent, or equal to the first.
        can_be_tied: The same for a config that ties them, for the error's hint.

    Raises:
        CheckpointError: Lists every tensor that is missing, has no place, or has another shape.
    """
    places = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    chosen: dict[str, Tensor] = {}
    problems: dict[str, str] = {}  # by the tensor's name
    for name, tensor in tensors.items():
        first = tied.get(name, name)
        wrong = why_no_weight(tensor)
        if wrong and first in places:
            problems[name] = f"{name} {wrong}"
        elif first not in places:
            problems[name] = f"{name} {list(tensor.shape)}: has no place in the {part}"
        elif tuple(tensor.shape) != places[first]:
            needed = list(places[first])
            problems[name] = f"{name}: has shape {list(tensor.shape)}, the {part} needs {needed}"
        elif first == name:
            chosen[name] = tensor
        elif first not in tensors:
            chosen[first] = tensor
        elif not _same(tensor, tensors[first]):
            problems[name] = f"{name}: differs from {first}, but the config ties them"
    for name, shape in places.items():
        if name not in chosen and tied.get(name, name) not in chosen and name not in problems:
            problems[name] = f"{name} {list(shape)}: missing"
    if problems:
        problem = f"the checkpoint does not fit the {part}, {len(problems)} tensors:\n" + "\n".join(
            f"- {line}" for line in sorted(problems.values())
        )
        raise CheckpointError(problem, hint=_hint(tensors, places, can_be_tied or {}, problems))
    model.load_state_dict(
        {name: as_float32(tensor) for name, tensor in chosen.items()}, strict=False, assign=True
    )
    for second, first in tied.items():
        if second in places:
            owner, _, leaf = second.rpartition(".")
            setattr(model.get_submodule(owner), leaf, model.get_parameter(first))


def _hint(
    tensors: Mapping[str, Tensor],
    places: Mapping[str, tuple[int, ...]],
    can_be_tied: Mapping[str, str],
    problems: Mapping[str, str],
) -> str:
    """What helps where tensors do not fit."""
    wrong = problems.keys() & tensors.keys()
    if any(is_quantised(name) or why_no_weight(tensors[name]) for name in wrong):
        return "export the checkpoint from before it was quantised: its weights are floats"
    for name, line in problems.items():
        first = can_be_tied.get(name, name)
        if name in can_be_tied and line.endswith(": missing") and len(problems) == 1:
            return f"if {first} serves as both, set tie_word_embeddings to true in config.json"
        if ": differs from" in line:
            return "if both tables were trained, set tie_word_embeddings to false in config.json"
        shape = tuple(tensors[name].shape) if name in tensors else ()
        needed = places.get(first, ())
        if first in can_be_tied.values() and shape[1:] == needed[1:] and shape[:1] != needed[:1]:
            return (
                f"the vocabulary was resized: set vocab_size to {shape[0]} in config.json, and use "
                "the tokenizer of that run"
            )
    return "check that config.json and the weights are of the same model"


def as_float32(tensor: Tensor) -> Tensor:
    """The tensor itself where it is float32 already, else converted."""
    return tensor.detach().to(torch.float32).contiguous()


def _same(one: Tensor, other: Tensor) -> bool:
    if one.data_ptr() == other.data_ptr() and one.dtype == other.dtype:
        return True
    return bool(torch.equal(one.to(other.dtype), other))


def _finished(model: _Module) -> _Module:
    """Put the model into evaluation mode, without gradients.

    Raises:
        CheckpointError: A tensor is still without memory: a newer transformers has a buffer that
            its family does not restore.
    """
    empty = [
        name
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if tensor.is_meta
    ]
    if empty:
        problem = "these tensors are in no checkpoint and were not computed: " + ", ".join(empty)
        raise CheckpointError(problem, hint="use the transformers version that c2t is tested with")
    model.requires_grad_(False)
    model.eval()
    return model
