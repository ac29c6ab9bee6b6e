"""The tensors of a checkpoint in parts, taken from a full save, an adapter, and base folders.

One decision: a part that the checkpoint holds comes from there completely; a part that it does not
hold at all comes from its folder. No part is filled up from two places tensor by tensor, except
that an adapter replaces what it trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PretrainedConfig

from c2t.export.checkpoint.configs import CONFIG, read_json
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.tensors.adapter_config import (
    ADAPTER_CONFIG,
    LoraScale,
    adapters_beside,
    find_scale,
    scale_from_config,
)
from c2t.export.checkpoint.tensors.files import read_checkpoint, read_model_folder, read_tensors
from c2t.export.checkpoint.tensors.layout import (
    DECODER,
    ENCODER,
    PROJECTOR,
    SortedTensors,
    sort_tensors,
)
from c2t.export.checkpoint.tensors.lora import merge_lora
from c2t.export.checkpoint.tensors.tied import untie
from c2t.export.model.family import ModelFamily
from c2t.runtime.system.errors import CheckpointError

_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(kw_only=True)
class CollectedTensors:
    """The tensors of all parts, and where they came from.

    Attributes:
        parts: Part -> name in the part -> tensor.
        story: What was recognised, in words.
        files: Every file that was read, by a name that is unique.
        lora: The pairs of an adapter, which `merge_adapter` merges.
        scale: The factor of each pair.
        trained: What an adapter trained whole, and by which names.
    """

    parts: dict[str, dict[str, Tensor]] = field(
        default_factory=lambda: {ENCODER: {}, PROJECTOR: {}, DECODER: {}}
    )
    story: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    lora: SortedTensors | None = None
    scale: LoraScale | None = None
    trained: SortedTensors | None = None

    def projector_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the projector's tensors by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.parts[PROJECTOR].items()}

    def merge_adapter(self, family: ModelFamily, config: PretrainedConfig) -> PretrainedConfig:
        """Replace what an adapter trained: whole tensors, and each weight that has a LoRA pair.

        Args:
            family: The decoder's.
            config: The decoder's.

        Returns:
            The config of the decoder; it no longer ties tables that were trained apart.

        Raises:
            CheckpointError: Lists every pair that has no weight, or does not fit its shape.
        """
        pairs = self.lora.lora if self.lora is not None else {}
        if self.trained is not None:
            config = untie(family, config, self.parts[DECODER], self.trained, pairs)
            for part, tensors in self.trained.parts.items():
                self.parts[part] |= tensors
        if self.lora is not None:
            assert self.scale is not None
            merged = merge_lora(self.parts, self.lora, self.scale)
            strength = _strength(self.lora, self.scale)
            self.story.append(f"LoRA merged into {len(merged)} weights, {strength}")
        return config


def collect_tensors(
    options: CheckpointOptions, encoder: ModelFamily, decoder: ModelFamily
) -> CollectedTensors:
    """Open the checkpoint, the adapter, and the folders of what these do not hold.

    Tensors stay on disk until they are used, as far as the files allow.

    Raises:
        CheckpointError: A file is missing or unreadable, a tensor has no place, or there is no
            projector.
    """
    assert options.geneformer is not None
    assert options.llama is not None
    collected = CollectedTensors()
    _collect_trained(options, collected)
    for part, family in ((ENCODER, encoder), (DECODER, decoder)):
        collected.parts[part] = family.named_as_in_module(collected.parts[part])
        if collected.trained is not None:
            held = collected.trained.parts
            held[part] = family.named_as_in_module(held[part])
    _collect_base(options.geneformer, "geneformer", ENCODER, encoder, collected)
    _collect_base(options.llama, "llama", DECODER, decoder, collected)
    if not collected.parts[PROJECTOR]:
        problem = "no projector: neither checkpoint nor adapter holds `cell_to_embedding.*`"
        raise CheckpointError(problem, hint="pass the full checkpoint, or an adapter that has it")
    return collected


def collect_decoder(
    options: CheckpointOptions, folder: Path, decoder: ModelFamily
) -> CollectedTensors:
    """Open the folder of a decoder that stands alone, and the adapter that was trained on it.

    Tensors stay on disk until they are used, as far as the files allow.

    Raises:
        CheckpointError: A file is missing or unreadable, or a tensor is none of a decoder's.
    """
    collected = CollectedTensors()
    _collect_trained(options, collected)
    if collected.trained is not None:
        held = collected.trained.parts
        held[DECODER] = decoder.named_as_in_module(held[DECODER])
        strangers = [part for part in (ENCODER, PROJECTOR) if held[part]]
        if strangers:
            problem = f"the adapter {options.adapter} holds an {strangers[0]}, too"
            hint = "it belongs to a Cell2Text model: pass --geneformer and --llama"
            raise CheckpointError(problem, hint=hint)
    _collect_base(folder, "model", DECODER, decoder, collected)
    return collected


def check_adapter(options: CheckpointOptions) -> None:
    """Refuse an adapter by its config alone, before any weight is read.

    Raises:
        CheckpointError: The folder has no weights, no config, or an adapter that cannot be merged.
    """
    if options.adapter is not None:
        path = _adapter_file(options.adapter)
        # A checkpoint may hold the changed base of an adapter: its weights show that later.
        _read_scale(path.parent, base_in_checkpoint=options.checkpoint is not None)


def _collect_trained(options: CheckpointOptions, collected: CollectedTensors) -> None:
    """Open the checkpoint and the adapter."""
    full: SortedTensors | None = None
    scale: LoraScale | None = None
    if options.checkpoint is not None:
        stored = read_checkpoint(options.checkpoint)
        full = sort_tensors(stored.tensors, source=str(options.checkpoint))
        collected.story.append(f"full checkpoint ({stored.kind}: {full.describe()})")
        names = ["checkpoint", *(f"checkpoint/{file.name}" for file in stored.files[1:])]
        collected.files |= dict(zip(names, stored.files, strict=True))
        collected.parts = {part: dict(tensors) for part, tensors in full.parts.items()}
        collected.lora = full if full.lora else None
        collected.trained = full
        if full.lora and options.adapter is None:
            holds_base = bool(full.parts[DECODER])
            scale = find_scale(options.checkpoint, stored.beside, base_in_checkpoint=holds_base)
        unused = [] if full.lora or options.adapter else adapters_beside(options.checkpoint)
        if unused:
            note = f"no LoRA weights in it: {unused[0]} beside it is not used without --adapter"
            collected.story.append(note)
    if options.adapter is not None:
        scale = _collect_adapter(options.adapter, options.checkpoint, full, collected)
    if options.lora_alpha is not None:
        scale = replace(scale or LoraScale(alpha=0), alpha=options.lora_alpha)
    if collected.lora is not None:
        if scale is None:
            raise _unknown_alpha(options, collected.lora)
        scale.check_modules(
            {
                collected.lora.wrapped_names[place]: int(pair["A"].shape[0])
                for place, pair in collected.lora.lora.items()
            }
        )
    collected.scale = scale


def _collect_adapter(
    folder: Path, checkpoint: Path | None, full: SortedTensors | None, collected: CollectedTensors
) -> LoraScale:
    """Open an adapter's folder; returns the scale that its config states."""
    path = _adapter_file(folder)
    holds_adapter = full is not None and bool(full.lora)
    scale = _read_scale(
        path.parent,
        base_in_checkpoint=holds_adapter and full is not None and bool(full.parts[DECODER]),
    )
    adapter = sort_tensors(read_tensors(path).tensors, source=str(path))
    if full is not None and holds_adapter and adapter.lora and not _same_pairs(full, adapter):
        problem = f"both {checkpoint} and {folder} hold LoRA weights, and they differ"
        hint = "pass --checkpoint or --adapter alone: the one of the run that is to be exported"
        raise CheckpointError(problem, hint=hint)
    named = "" if path.parent == folder else f" {path.parent.name}"
    collected.story.append(f"adapter{named} ({path.suffix[1:]}: {adapter.describe()})")
    collected.files["adapter_config"] = path.parent / ADAPTER_CONFIG
    collected.files["adapter"] = path
    adapter.copies |= {
        (part, name)
        for part, tensors in adapter.parts.items()
        for name in tensors
        if not scale.keeps_tied and _ends_with_module(name, scale.modules_to_save)
    }
    if adapter.lora:
        collected.lora = adapter
    collected.trained = adapter
    for part in (ENCODER, PROJECTOR):
        collected.parts[part] |= adapter.parts[part]
    return scale


def _same_pairs(one: SortedTensors, other: SortedTensors) -> bool:
    """Whether two files hold the same adapter, as the reference saves it twice."""
    return one.lora.keys() == other.lora.keys() and all(
        torch.equal(pair[side], other.lora[place][side])
        for place, pair in one.lora.items()
        for side in ("A", "B")
    )


def _ends_with_module(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a tensor lies in one of these modules, which PEFT finds by the ends of names."""
    owner = name.rpartition(".")[0]
    return any(f".{owner}".endswith(f".{module.rpartition('llama.')[2]}") for module in modules)


def _unknown_alpha(options: CheckpointOptions, lora: SortedTensors) -> CheckpointError:
    """No file states alpha, and the weights do not show it."""
    ranks = _ranks(lora)
    problem = (
        f"{options.checkpoint} holds LoRA weights of rank {ranks}, but no file says their alpha"
    )
    hint = (
        f"put the run's {ADAPTER_CONFIG} beside it, or pass --lora-alpha (B A is added times "
        "alpha / rank; the reference trained with twice the rank)"
    )
    return CheckpointError(problem, hint=hint)


def _adapter_file(folder: Path) -> Path:
    """The weights of an adapter's folder, or of its only subfolder: PEFT puts it under its name."""
    files = [
        place / name
        for place in (folder, *sorted(path for path in folder.glob("*/") if path.is_dir()))
        for name in _ADAPTER_FILES
        if (place / name).is_file()
    ]
    if not files:
        problem = f"{folder} is no adapter folder: it has none of {', '.join(_ADAPTER_FILES)}"
        raise CheckpointError(problem, hint="pass the folder that PEFT's save_pretrained wrote")
    folders = list(dict.fromkeys(file.parent for file in files))
    if folders[0] != folder and len(folders) > 1:
        names = ", ".join(place.name for place in folders)
        problem = f"{folder} holds {len(folders)} adapters: {names}"
        raise CheckpointError(problem, hint=f"pass one of them: --adapter {folders[0]}")
    return files[0]


def _read_scale(folder: Path, *, base_in_checkpoint: bool) -> LoraScale:
    path = folder / ADAPTER_CONFIG
    return scale_from_config(
        read_json(path), source=str(path), base_in_checkpoint=base_in_checkpoint
    )


def _ranks(lora: SortedTensors) -> str:
    return "/".join(str(rank) for rank in sorted({p["A"].shape[0] for p in lora.lora.values()}))


def _strength(lora: SortedTensors, scale: LoraScale) -> str:
    kind = ", rank-stabilised" if scale.rank_stabilised else ""
    kind += ", other alphas by pattern" if scale.alpha_pattern else ""
    return f"rank {_ranks(lora)}, alpha {scale.alpha:g}{kind}"


def _collect_base(
    folder: Path, name: str, part: str, family: ModelFamily, collected: CollectedTensors
) -> None:
    """Take a part's weights from its own folder where the checkpoint does not hold the part.

    Args:
        folder: The Hugging Face folder of the part.
        name: What its files are called in the manifest's list of sources.
        part: Which part it is.
        family: Its family, which knows a whole part from what an adapter trained of it.
        collected: Where the tensors go.
    """
    collected.files[f"{name}/{CONFIG}"] = folder / CONFIG
    trained = collected.parts[part]
    if family.holds_part(trained):
        return
    stored = read_model_folder(folder)
    collected.parts[part] = family.named_as_in_module(stored.tensors) | trained
    names = ", ".join(file.name for file in stored.files)
    collected.story.append(f"{part} from {folder.name} ({names})")
    collected.files |= {f"{name}/{file.name}": file for file in stored.files}
