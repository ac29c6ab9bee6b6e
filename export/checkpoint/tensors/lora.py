"""Merging a LoRA adapter into the weights it was trained beside, in float32.

One decision: W + (alpha / r) B A is computed once, here; what cannot be expressed so (DoRA,
transposed layers, initialisations that change the base) is refused, not approximated.
"""

from torch import Tensor

from c2t.export.checkpoint.tensors.adapter_config import LoraScale
from c2t.export.checkpoint.tensors.layout import SortedTensors
from c2t.export.checkpoint.tensors.weight_types import why_no_weight
from c2t.runtime.system.errors import CheckpointError


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
        wrong = [why for tensor in (down, up, weight) if (why := why_no_weight(tensor))]
        if weight is None:
            problems.append(f"{part} {module}: there is no such weight")
        elif wrong:
            problems.append(f"{part} {module}: {wrong[0]}")
        elif down.dim() != 2 or up.dim() != 2 or down.shape[0] != up.shape[1]:
            problems.append(
                f"{part} {module}: A {list(down.shape)} and B {list(up.shape)} do not fit"
            )
        elif tuple(weight.shape) != expected:
            problems.append(
                f"{part} {module}: B A has shape {list(expected)}, the weight {list(weight.shape)}"
            )
        else:
            factor = scale.factor(lora.wrapped_names[part, module], down.shape[0])
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
