"""Families of encoders and decoders: what loading a model of Hugging Face needs to know of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from transformers import PretrainedConfig, PreTrainedModel

from c2t.runtime.system.errors import CheckpointError

# Far above any model's. A module of such sizes is built without memory, but layer by layer.
SIZE_MAX, LAYERS_MAX = 1 << 24, 1024
Family = TypeVar("Family", bound="ModelFamily")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """What loading a checkpoint needs to know of one family of encoders or decoders.

    Attributes:
        name: For people, like "Llama".
        config: Class of the `config.json`; its `model_type` names the family in checkpoints.
        module: The PyTorch class that the weights are loaded into.
        check_config: Raises a `CheckpointError` for a config whose graph cannot be written.
        restore_buffers: Computes the buffers that a checkpoint does not hold.
        first_layer: What the names of the tensors of the first layer start with. A checkpoint
            that has none of them does not hold this part.
        tied: Second names of tensors that always have two, with their first names.
        tied_by_config: The same, for a config with `tie_word_embeddings`.
        tolerated: Names of tensors that some saves hold and no output depends on, with the reason.
        tolerated_endings: The same, by how the names end.
        unneeded: What the names of heads start with that no output depends on; they may be missing.
        renamed: Endings of names in old saves, with what they are now.
        settings: Fields of `config.json` that are read, or that change no output.
        neutral: Other fields, with the one value that changes no output.
        norm_weight: A norm's weight as training begins with it: 1, or 0 where one is added to it.
        translate: Makes the fields of a newer transformers those that are read here; it may raise.
    """

    name: str
    config: type[PretrainedConfig]
    module: type[PreTrainedModel]
    check_config: Callable[[Any], None]
    restore_buffers: Callable[[Any], None]
    first_layer: str
    tied: Mapping[str, str] = field(default_factory=dict)
    tied_by_config: Mapping[str, str] = field(default_factory=dict)
    tolerated: Mapping[str, str] = field(default_factory=dict)
    tolerated_endings: tuple[str, ...] = ()
    unneeded: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    settings: frozenset[str] = frozenset()
    neutral: Mapping[str, Any] = field(default_factory=dict)
    norm_weight: float = 1.0
    translate: Callable[[dict[str, Any]], dict[str, Any]] = dict

    @property
    def model_type(self) -> str:
        """What `config.json` calls the family."""
        return str(self.config.model_type)

    def tied_names(self, config: PretrainedConfig) -> dict[str, str]:
        """Second names of the tied tensors of a model with this config, with their first names."""
        return {**self.tied, **(self.tied_by_config if config.tie_word_embeddings else {})}

    def named_as_in_module(self, tensors: Mapping[str, Value]) -> dict[str, Value]:
        """Tensors by the names of the module: old endings renamed, the base model's prefix added.

        transformers does both on loading, so saves with either are around.
        """
        prefix = f"{self.module.base_model_prefix}."
        bare = self.first_layer.removeprefix(prefix)
        without = any(name.startswith(bare) for name in tensors)
        result = {}
        for name, tensor in tensors.items():
            old = next((end for end in self.renamed if name.endswith(end)), "")
            name = name.removesuffix(old) + self.renamed.get(old, "")
            result[prefix + name if without and not name.startswith(prefix) else name] = tensor
        return result

    def holds_part(self, tensors: Mapping[str, Any]) -> bool:
        """Whether these tensors are a whole part, not only what an adapter trained."""
        return any(name.startswith(self.first_layer) for name in tensors)


@dataclass(frozen=True, kw_only=True)
class EncoderPreset:
    """A published encoder.

    Attributes:
        config: Makes its config.
        special_tokens: Gene tokens that are no genes. 2: V1 (<pad>, <mask>), 4: V2 (and <cls>,
            <eos>).
    """

    config: Callable[[], PretrainedConfig]
    special_tokens: int


@dataclass(frozen=True, kw_only=True)
class EncoderGraph:
    """What was written: layers in the graph, and rows computed in the last of them."""

    layers_run: int
    rows: int | None


def check_sizes(config: PretrainedConfig, names: tuple[str, ...], *, part: str) -> None:
    """Refuse sizes that are no positive integers, or larger than any model's.

    Raises:
        CheckpointError: Names the field and its value.
    """
    for name in names:
        size, most = getattr(config, name), LAYERS_MAX if "layers" in name else SIZE_MAX
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= most:
            problem = f"the {part}'s {name} is {size!r}; it must be an integer from 1 to {most}"
            raise CheckpointError(problem, hint="check its config.json")


def is_positive(value: object) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, int | float) and value is not True and 0 < value < math.inf


def check_number(config: PretrainedConfig, name: str, *, part: str) -> None:
    """Refuse a field that is no finite number above 0.

    Raises:
        CheckpointError: Names the field and its value.
    """
    value = getattr(config, name)
    if not is_positive(value):
        problem = f"the {part}'s {name} is {value!r}; it must be a number above 0"
        raise CheckpointError(problem, hint="check its config.json")


def check_dropouts(config: PretrainedConfig, *, part: str) -> None:
    """Refuse rates of a BERT's dropout that no module can be made with, though nothing runs it.

    Raises:
        CheckpointError: Names the field and its value.
    """
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        value = getattr(config, name)
        if not (isinstance(value, int | float) and value is not True and 0 <= value <= 1):
            problem = f"the {part}'s {name} is {value!r}; it must be a number from 0 to 1"
            raise CheckpointError(problem, hint="check its config.json")


def find_family(
    table: Mapping[str, Family], model_type: object, *, part: str, source: str
) -> Family:
    """The family of a `model_type`.

    Args:
        table: The families that there are.
        model_type: What the config says.
        part: "encoder" or "decoder", for the error.
        source: Where it says so, for the error.

    Raises:
        CheckpointError: There is no such family; the hint lists those that there are.
    """
    family = table.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        problem = f"{source}: model_type is {model_type!r}, which c2t cannot export as {part}"
        known = ", ".join(f"{name} ({family.name})" for name, family in table.items())
        raise CheckpointError(problem, hint=f"the {part}s that it can export: {known}")
    return family
