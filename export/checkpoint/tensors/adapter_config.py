"""How strongly an adapter is added: `adapter_config.json` and what training scripts leave.

One decision: the scale is read, never guessed. Where no file of the run states it, it is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from c2t.export.checkpoint.configs import read_json
from c2t.runtime.system.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"
# Where training scripts leave the config of the adapter that a full checkpoint holds, seen from
# its folder: PEFT's file itself, or a copy of some of its fields.
_BESIDE = (
    ADAPTER_CONFIG,
    f"adapter/{ADAPTER_CONFIG}",
    f"best_decoder_lora/{ADAPTER_CONFIG}",
    "lora_config.json",
)
# The same inside a file of torch.save.
_INSIDE = ("lora_config", "peft_config", "adapter_config")
_ALPHAS = ("lora_alpha", "lora_alpha_decoder", "alpha")
_RANKS = ("r", "lora_r", "lora_r_decoder", "lora_rank")

_REFUSED = {
    "use_dora": "DoRA scales the merged weight by learned magnitudes",
    "fan_in_fan_out": "the layers are stored transposed",
    "lora_bias": "LoRA with biases",
    "use_qalora": "QA-LoRA pools its input",
    "alora_invocation_tokens": "activated LoRA depends on the tokens seen",
    "target_parameters": "LoRA on bare parameters",
    "trainable_token_indices": "single trained token rows",
    "layer_replication": "the decoder has copies of its layers",
    "kasa_config": "KASA adds learned singular values",
    "arrow_config": "Arrow chooses among adapters, token by token",
    "monteclora_config": "MonteCLoRA samples its weights",
    "use_bdlora": "BD-LoRA is block-diagonal",
    "megatron_config": "the layers are Megatron's",
}
# Fields that change nothing once an adapter is trained, or that are read here.
_KNOWN = {
    "r", "lora_alpha", "use_rslora", "alpha_pattern", "rank_pattern", "peft_type",
    "init_lora_weights", "modules_to_save", "ensure_weight_tying", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "bias", "task_type",
    "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "megatron_core", "qalora_group_size", "loftq_config", "eva_config",
    "corda_config", "lora_ga_config", "velora_config", "runtime_config", "applies_to",
    "target_modules_to_tie",
}  # fmt: skip
# Initialisations that leave the base weights as they are. The others (PiSSA, OLoRA, CorDA, LoftQ,
# LoRA-GA) take a part out of them: merged into the original weights, it would be added twice.
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")


@dataclass(frozen=True, kw_only=True)
class LoraScale:
    """The factor with which an adapter is added.

    Attributes:
        alpha: The scale of B A is alpha / rank.
        rank_stabilised: The scale is alpha / sqrt(rank) instead.
        alpha_pattern: Alpha of single modules, by regular expression; the first that matches.
        rank: The rank of most modules; None: not stated.
        rank_pattern: The same for single modules.
        modules_to_save: Modules that were trained whole, by the ends of their names.
        keeps_tied: Whether copies of tied tables were kept equal in training.
        source: The file that says so, for errors.
    """

    alpha: float
    rank_stabilised: bool = False
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    rank: int | None = None
    rank_pattern: dict[str, int] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    keeps_tied: bool = False
    source: str = "--lora-alpha"

    def factor(self, module: str, rank: int) -> float:
        """The factor of B A for one module, by its name in the model that PEFT wrapped."""
        alpha: float = _first_match(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)

    def check_modules(self, ranks: Mapping[str, int]) -> None:
        """Refuse an adapter of other modules or ranks than the config is of.

        Args:
            ranks: The rank of every module, by its name in the model that PEFT wrapped.

        Raises:
            CheckpointError: A pattern matches no module, or a rank is another one.
        """
        for what, patterns in (
            ("alpha_pattern", self.alpha_pattern),
            ("rank_pattern", self.rank_pattern),
        ):
            unused = [p for p in patterns if not any(_matches(p, module) for module in ranks)]
            if unused:
                problem = f"{self.source}: {what} matches no module: {', '.join(unused)}"
                hint = f"the modules are called like {next(iter(ranks))}"
                raise CheckpointError(problem, hint=hint)
        if self.rank is None:
            return
        for module, rank in ranks.items():
            stated = _first_match(self.rank_pattern, module, self.rank)
            if stated != rank:
                problem = f"{self.source} says rank {stated} for {module}, the weights have {rank}"
                hint = "the file is of another run: replace it by the config of this one"
                raise CheckpointError(problem, hint=hint)


def _matches(pattern: str, module: str) -> bool:
    """PEFT's rule: a pattern is matched against the end of the name, after a dot."""
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


def _first_match(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    return next((value for key, value in patterns.items() if _matches(key, module)), default)


def scale_from_config(
    config: Mapping[str, Any], *, source: str, base_in_checkpoint: bool
) -> LoraScale:
    """Read an `adapter_config.json`.

    Args:
        config: Its content.
        source: Its path, for the error.
        base_in_checkpoint: Whether the base weights were saved with the adapter.

    Raises:
        CheckpointError: The adapter is of a kind that cannot be merged.
    """
    kind = str(config.get("peft_type")).removeprefix("PeftType.")
    if kind != "LORA":
        reasons = [f"peft_type is {kind!r}, not 'LORA'"]
    else:
        reasons = [*_reasons(config, base_in_checkpoint=base_in_checkpoint)]
    if reasons:
        problem = f"{source}: this adapter cannot be merged:\n" + "\n".join(
            f"- {reason}" for reason in reasons
        )
        raise CheckpointError(
            problem, hint="merge it with PEFT (merge_and_unload) and pass the full checkpoint"
        )
    return LoraScale(
        alpha=config["lora_alpha"],
        rank_stabilised=bool(config.get("use_rslora")),
        alpha_pattern=dict(config.get("alpha_pattern") or {}),
        rank=config.get("r"),
        rank_pattern=dict(config.get("rank_pattern") or {}),
        modules_to_save=tuple(config.get("modules_to_save") or ()),
        keeps_tied=bool(config.get("ensure_weight_tying")),
        source=source,
    )


def _reasons(config: Mapping[str, Any], *, base_in_checkpoint: bool) -> Iterable[str]:
    """Why a LoRA adapter cannot be merged."""
    yield from (f"{key}: {why}" for key, why in _REFUSED.items() if config.get(key))
    for key in sorted(config.keys() - _KNOWN - _REFUSED.keys()):
        if config[key]:
            yield f"{key} is {config[key]!r}, a setting that c2t does not know"
    start = config.get("init_lora_weights")
    plain = not isinstance(start, str) or start.lower() in _PLAIN_STARTS
    if not plain and not base_in_checkpoint:
        yield f"init_lora_weights is {start!r}, which changed the base weights"
    if not _is_number(config.get("lora_alpha")):
        yield f"lora_alpha is {config.get('lora_alpha')!r}, not a number"
    for key in ("alpha_pattern", "rank_pattern"):
        patterns = config.get(key) or {}
        if not isinstance(patterns, Mapping) or not all(map(_is_number, patterns.values())):
            yield f"{key} is {patterns!r}, not numbers by name"
            continue
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                yield f"{key} has {pattern!r}, which is no regular expression: {error}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def find_scale(
    checkpoint: Path, beside: Mapping[str, Any], *, base_in_checkpoint: bool
) -> LoraScale | None:
    """The scale of the adapter that a full checkpoint holds, from wherever its run left it.

    Args:
        checkpoint: The file or folder.
        beside: What a file of torch.save holds beside the weights.
        base_in_checkpoint: Whether the base weights were saved with the adapter.

    Returns:
        None where nothing states it.

    Raises:
        CheckpointError: A file states an adapter that cannot be merged, or two state another scale.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    stated = [
        scale_from_config(
            read_json(folder / name),
            source=str(folder / name),
            base_in_checkpoint=base_in_checkpoint,
        )
        for name in _BESIDE
        if (folder / name).is_file()
    ]
    stated += [
        _scale_inside(beside[key], f"`{key}` in {checkpoint}") for key in _INSIDE if beside.get(key)
    ]
    for other in stated[1:]:
        first = stated[0]
        if (other.alpha, other.rank_stabilised) != (first.alpha, first.rank_stabilised):
            problem = (
                f"alpha is {first.alpha:g} in {first.source}, but {other.alpha:g} in {other.source}"
            )
            hint = "only one is of this checkpoint: remove the other from its folder"
            raise CheckpointError(problem, hint=hint)
    return stated[0] if stated else None


def adapters_beside(checkpoint: Path) -> list[str]:
    """The configs of adapters that a run left beside a full checkpoint."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    return [name for name in _BESIDE if (folder / name).is_file()]


def _scale_inside(stored: object, source: str) -> LoraScale:
    """The scale from the arguments of a training script.

    Raises:
        CheckpointError: They do not state it.
    """
    fields = _flat(stored)
    alpha = next((fields[name] for name in _ALPHAS if _is_number(fields.get(name))), None)
    rank = next((fields[name] for name in _RANKS if isinstance(fields.get(name), int)), None)
    if alpha is None:
        problem = f"{source} states no alpha"
        hint = "pass --lora-alpha, the alpha of the training run"
        raise CheckpointError(problem, hint=hint)
    if "peft_type" in fields:
        return scale_from_config(fields, source=source, base_in_checkpoint=True)
    refused = [key for key in ("use_dora", *_REFUSED) if fields.get(key)]
    if refused:
        problem = f"{source}: this adapter cannot be merged: {refused[0]}: {_REFUSED[refused[0]]}"
        hint = "merge it with PEFT (merge_and_unload) and pass the full checkpoint"
        raise CheckpointError(problem, hint=hint)
    scale = LoraScale(alpha=alpha, rank=rank, source=source)
    return replace(scale, rank_stabilised=bool(fields.get("use_rslora")))


def _flat(stored: object) -> dict[str, Any]:
    """The fields of nested mappings and namespaces by their last names; outer ones win."""
    fields = stored if isinstance(stored, Mapping) else getattr(stored, "__dict__", {})
    result: dict[str, Any] = {}
    for value in fields.values():
        if isinstance(value, Mapping) or hasattr(value, "__dict__"):
            result = {**_flat(value), **result}
    return {**result, **{str(name): value for name, value in fields.items()}}
