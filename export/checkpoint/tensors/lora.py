"""Merging a LoRA adapter into the weights it was trained beside, in float32.

One decision: W + (alpha / r) B A is computed once, here; what cannot be expressed so (DoRA,
transposed layers, initialisations that change the base) is refused, not approximated.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from c2t.export.checkpoint.tensors.layout import SortedTensors
from c2t.runtime.system.errors import CheckpointError

_REFUSED = {
    "use_dora": "DoRA scales the merged weight by learned magnitudes",
    "fan_in_fan_out": "the layers are stored transposed",
    "lora_bias": "LoRA with biases",
    "use_qalora": "QA-LoRA pools its input",
    "alora_invocation_tokens": "activated LoRA depends on the tokens seen",
    "target_parameters": "LoRA on bare parameters",
    "trainable_token_indices": "single trained token rows",
}
# These initialisations take a part out of the base weights; merged into the original weights, the
# adapter would add it twice.
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq")
# The rule of the reference's training script, for saves that do not carry alpha.
ALPHA_PER_RANK = 2.0


@dataclass(frozen=True, kw_only=True)
class LoraScale:
    """The factor with which an adapter is added."""

    alpha: float | None  # None: ALPHA_PER_RANK * rank
    rank_stabilised: bool = False  # alpha / sqrt(r) instead of alpha / r
    alpha_pattern: dict[str, float] = field(default_factory=dict)  # regular expression -> alpha

    def factor(self, module: str, rank: int) -> float:
        """The factor of B A for one module."""
        # PEFT matches a pattern against the end of the name, after a dot.
        special = next(
            (
                alpha
                for pattern, alpha in self.alpha_pattern.items()
                if re.match(rf"(.*\.)?({pattern})$", module)
            ),
            None,
        )
        alpha = self.alpha if special is None else special
        if alpha is None:
            alpha = ALPHA_PER_RANK * rank
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


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
    reasons = [f"{key}: {why}" for key, why in _REFUSED.items() if config.get(key)]
    if config.get("peft_type") != "LORA":
        reasons.append(f"peft_type is {config.get('peft_type')!r}, not 'LORA'")
    start = config.get("init_lora_weights")
    if (
        isinstance(start, str)
        and start.lower().startswith(_BASE_CHANGING)
        and not base_in_checkpoint
    ):
        reasons.append(f"init_lora_weights is {start!r}, which changed the base weights")
    if not isinstance(config.get("lora_alpha"), int | float):
        reasons.append(f"lora_alpha is {config.get('lora_alpha')!r}, not a number")
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
    )


def merge_lora(
    parts: dict[str, dict[str, Tensor]], lora: SortedTensors, scale: LoraScale
) -> list[str]:
    """Replace each weight that has a LoRA pair by the merged one, in place.

    Args:
        parts: Tensors of each part by name.
        lora: Holds the `lora` pairs.
        scale: The factor of each pair.

    Returns:
        The merged modules, as "part module".

    Raises:
        CheckpointError: Lists every pair that has no weight, or does not fit its shape.
    """
    problems = []
    merged = []
    for (part, module), pair in sorted(lora.lora.items()):
        down, up = pair["A"], pair["B"]
        weight = parts[part].get(f"{module}.weight")
        expected = (up.shape[0], down.shape[-1])
        if weight is None:
            problems.append(f"{part} {module}: there is no such weight")
        elif down.dim() != 2 or up.dim() != 2 or down.shape[0] != up.shape[1]:
            problems.append(
                f"{part} {module}: A {list(down.shape)} and B {list(up.shape)} do not fit"
            )
        elif tuple(weight.shape) != expected:
            problems.append(
                f"{part} {module}: B A has shape {list(expected)}, the weight {list(weight.shape)}"
            )
        else:
            factor = scale.factor(module, down.shape[0])
            delta = up.detach().float() @ down.detach().float()
            # In place, so that there is one new tensor per weight.
            parts[part][f"{module}.weight"] = delta.mul_(factor).add_(weight.detach().float())
            merged.append(f"{part} {module}")
    if problems:
        problem = f"{len(problems)} LoRA pairs cannot be merged:\n" + "\n".join(
            f"- {line}" for line in problems
        )
        raise CheckpointError(problem, hint="the adapter belongs to a model of other sizes")
    return merged
