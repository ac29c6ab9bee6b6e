"""The tensors of a CellWhisperer checkpoint, sorted by the parts that they belong to.

One decision: parts are recognised by their shapes, not by the names of the classes that training
happened to wrap them in. Every tensor must belong to a part, or be left out by name: a projection
that was overlooked would make every score wrong.

Source: the published checkpoint's names (`discriminator.img_block`, `.text_block`, `.temperature`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from c2t.export.checkpoint.tensors.weight_types import why_no_weight
from c2t.runtime.system.errors import CheckpointError

WORDS = "embeddings.word_embeddings.weight"
# Names below a BERT's prefix; a prefix may be empty.
_OF_BERT = ("bert.", "embeddings.", "encoder.", "pooler.", "cls.")
_BLOCK = re.compile(r"^(?P<owner>(?:.*\.)?)(?P<block>img_block|text_block)\.(?P<inner>.+)$")
TEMPERATURE = "temperature"
# exp(temperature) scales scores; CLIP clips it at ln(100) = 4.6.
TEMPERATURE_MAX = 20.0
SHOWN = 12  # names in an error


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the folders say of the two BERTs: rows of their word tables, and their widths."""

    gene_rows: int
    gene_width: int
    text_rows: int
    text_width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class JointTensors:
    """Tensors by part, under the names that they have inside it.

    Attributes:
        encoder: Of Geneformer.
        text: Of the text tower's BERT.
        image_block: Of `c2t.export.model.joint.JointBlock`.
        text_block: The same.
        temperature: A score is its exponential times the dot product.
        story: Where each part was found, in words.
    """

    encoder: dict[str, Tensor]
    text: dict[str, Tensor]
    image_block: dict[str, Tensor]
    text_block: dict[str, Tensor]
    temperature: float
    story: tuple[str, ...]


def sort_joint_tensors(
    tensors: Mapping[str, Tensor], expected: Expected, *, leave_out: Iterable[str] = ()
) -> JointTensors:
    """Sort the tensors of a checkpoint.

    Args:
        tensors: By name.
        expected: What the folders say.
        leave_out: What the names of tensors begin with that belong to no part.

    Raises:
        CheckpointError: A part is missing or there twice, or a tensor belongs to none.
    """
    begins = tuple(leave_out)
    kept = {name: t for name, t in tensors.items() if not (begins and name.startswith(begins))}
    towers = _towers(kept, expected)
    blocks, owner = _blocks(kept)
    temperature = f"{owner}{TEMPERATURE}"
    of_towers = {side: _below(kept, prefix, towers.values()) for side, prefix in towers.items()}
    known = {name for part in of_towers.values() for name in part.values()}
    known |= {name for part in blocks.values() for name in part.values()} | {temperature}
    strangers = sorted(kept.keys() - known)
    if strangers:
        shown = ", ".join(strangers[:SHOWN]) + (", ..." if len(strangers) > SHOWN else "")
        problem = f"{len(strangers)} tensors are no part of a joint space that c2t knows: {shown}"
        hint = "if nothing depends on them, name what they begin with: --leave-out PREFIX"
        raise CheckpointError(problem, hint=hint)

    def taken(part: Mapping[str, str]) -> dict[str, Tensor]:
        return {inner: kept[name] for inner, name in part.items()}

    return JointTensors(
        encoder=taken(of_towers["gene"]),
        text=taken(of_towers["text"]),
        image_block=sort_block(taken(blocks["img_block"]), "img_block"),
        text_block=sort_block(taken(blocks["text_block"]), "text_block"),
        temperature=_temperature(kept.get(temperature), temperature),
        story=(
            f"Geneformer at `{towers['gene']}`",
            f"text tower at `{towers['text']}`",
            f"blocks at `{owner}`",
            *(f"left out: `{begin}`" for begin in begins),
        ),
    )


def _towers(tensors: Mapping[str, Tensor], expected: Expected) -> dict[str, str]:
    """The prefix of each BERT.

    Raises:
        CheckpointError: None or several have the rows and the width that its folder says.
    """
    found = {
        name.removesuffix(WORDS).removesuffix("bert."): tuple(tensor.shape)
        for name, tensor in tensors.items()
        if name.endswith(WORDS)
    }
    wanted = {
        "gene": (expected.gene_rows, expected.gene_width),
        "text": (expected.text_rows, expected.text_width),
    }
    towers = {}
    for side, shape in wanted.items():
        fit = [prefix for prefix, stored in found.items() if stored == shape]
        if side == "text" and len(fit) > 1:  # Geneformer's pooler was not trained
            fit = [prefix for prefix in fit if f"{prefix}pooler.dense.weight" in tensors]
        if side == "gene" and len(fit) > 1:
            fit = [prefix for prefix in fit if f"{prefix}pooler.dense.weight" not in tensors]
        if len(fit) != 1:
            there = [f"`{prefix}{WORDS}` {list(stored)}" for prefix, stored in found.items()]
            what = "Geneformer" if side == "gene" else "the text tower"
            problem = (
                f"{'no' if not fit else 'more than one'} table of the checkpoint is {what}'s, "
                f"{list(shape)}; there are: {', '.join(there) or 'none'}"
            )
            option = "--geneformer" if side == "gene" else "--text-model"
            raise CheckpointError(problem, hint=f"check the folder of {option}")
        towers[side] = fit[0]
    return towers


def _below(tensors: Mapping[str, Tensor], prefix: str, all_towers: Iterable[str]) -> dict[str, str]:
    """Names of the tensors below a tower's prefix, by what is left of them without it."""
    deeper = tuple(other for other in all_towers if other != prefix and other.startswith(prefix))
    return {
        name.removeprefix(prefix): name
        for name in tensors
        if name.startswith(prefix)
        and name.removeprefix(prefix).startswith(_OF_BERT)
        and not (deeper and name.startswith(deeper))
    }


def _blocks(tensors: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, str]], str]:
    """Names of both blocks by what they are inside, and what stands before the blocks' names."""
    blocks: dict[str, dict[str, str]] = {"img_block": {}, "text_block": {}}
    owners = set()
    for name in tensors:
        match = _BLOCK.match(name)
        if match:
            blocks[match["block"]][match["inner"]] = name
            owners.add(match["owner"])
    lacking = [block for block, names in blocks.items() if not names]
    if lacking or len(owners) != 1:
        problem = f"the checkpoint has no {' and no '.join(lacking)}"
        if not lacking:
            problem = f"the checkpoint has blocks at {' and '.join(sorted(owners))}"
        raise CheckpointError(problem, hint="expected one discriminator.img_block and .text_block")
    return blocks, owners.pop()


def sort_block(tensors: Mapping[str, Tensor], block: str) -> dict[str, Tensor]:
    """The tensors of a block by their names in `JointBlock`.

    The BatchNorm is what has statistics, the linears stand before and behind it in one sequence;
    outside are the shortcut, a matrix, and the LayerNorm.

    Args:
        tensors: By their names inside the block.
        block: Its name, for errors.

    Raises:
        CheckpointError: It is put together otherwise.
    """
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf != "num_batches_tracked":
            modules.setdefault(module, {})[leaf] = tensor
    roles: dict[str, list[str]] = {role: [] for role in _ROLES}
    norms = [module for module, own in modules.items() if "running_mean" in own]
    parent, _, place = norms[0].rpartition(".") if len(norms) == 1 else ("", "", "")
    for module, own in modules.items():
        owner, _, number = module.rpartition(".")
        inside = bool(norms) and owner == parent and number.isdecimal() and place.isdecimal()
        matrix = own["weight"].dim() == 2 if "weight" in own else False
        if module in norms:
            roles["feature_nonlinear.1"].append(module)
        elif inside and matrix:
            first = int(number) < int(place)
            roles["feature_nonlinear.0" if first else "feature_nonlinear.3"].append(module)
        else:
            roles["feature_shortcut" if matrix else "feature_block_ln"].append(module)
    wrong = [role for role, found in roles.items() if len(found) != 1]
    wrong = wrong or [
        role for role, (module,) in roles.items() if modules[module].keys() != _ROLES[role]
    ]
    if wrong:
        listing = "\n".join(f"- {n} {list(t.shape)}" for n, t in sorted(tensors.items()))
        problem = f"{block} is put together otherwise than published:\n{listing}"
        hint = "expected Linear without bias, BatchNorm, ReLU, Linear; a shortcut; a LayerNorm"
        raise CheckpointError(problem, hint=hint)
    return {
        f"{role}.{leaf}": tensor
        for role, (module,) in roles.items()
        for leaf, tensor in modules[module].items()
    }


_ROLES = {
    "feature_nonlinear.0": {"weight"},
    "feature_nonlinear.1": {"weight", "bias", "running_mean", "running_var"},
    "feature_nonlinear.3": {"weight", "bias"},
    "feature_shortcut": {"weight", "bias"},
    "feature_block_ln": {"weight", "bias"},
}


def _temperature(tensor: Tensor | None, name: str) -> float:
    """The temperature, as trained.

    Raises:
        CheckpointError: There is none, or it is no number that scores can be scaled by.
    """
    if tensor is None or tensor.numel() != 1 or why_no_weight(tensor):
        problem = f"the checkpoint has no {name}, one number"
        raise CheckpointError(problem, hint="expected it beside img_block and text_block")
    value = float(tensor.reshape(()).float())
    if not (math.isfinite(value) and abs(value) <= TEMPERATURE_MAX):
        problem = f"{name} is {value}; scores would be multiplied by its exponential"
        raise CheckpointError(problem, hint="the training run that wrote it had diverged")
    return value
