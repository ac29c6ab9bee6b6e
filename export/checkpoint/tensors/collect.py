"""The tensors of a checkpoint in parts, taken from a full save, an adapter, and base folders.

One decision: a part that the checkpoint holds comes from there completely; a part that it does not
hold at all comes from its folder. No part is filled up from two places tensor by tensor, except
that an adapter replaces what it trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from c2t.export.checkpoint.configs import CONFIG, read_json
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.tensors.files import read_model_folder, read_tensors
from c2t.export.checkpoint.tensors.layout import (
    DECODER,
    ENCODER,
    PROJECTOR,
    SortedTensors,
    sort_tensors,
)
from c2t.export.checkpoint.tensors.lora import LoraScale, merge_lora, scale_from_config
from c2t.export.model.family import ModelFamily
from c2t.runtime.system.errors import CheckpointError

_ADAPTER_CONFIG = "adapter_config.json"
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
    """

    parts: dict[str, dict[str, Tensor]] = field(
        default_factory=lambda: {ENCODER: {}, PROJECTOR: {}, DECODER: {}}
    )
    story: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    lora: SortedTensors | None = None
    scale: LoraScale = field(default_factory=lambda: LoraScale(alpha=None))

    def projector_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the projector's tensors by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.parts[PROJECTOR].items()}

    def merge_adapter(self) -> None:
        """Replace each weight that has a LoRA pair by the merged one; no adapter changes nothing.

        Raises:
            CheckpointError: Lists every pair that has no weight, or does not fit its shape.
        """
        if self.lora is None:
            return
        merged = merge_lora(self.parts, self.lora, self.scale)
        strength = _strength(self.lora, self.scale)
        self.story.append(f"LoRA merged into {len(merged)} weights, {strength}")


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
    _collect_base(options.geneformer, "geneformer", ENCODER, encoder, collected)
    _collect_base(options.llama, "llama", DECODER, decoder, collected)
    if not collected.parts[PROJECTOR]:
        problem = "no projector: neither checkpoint nor adapter holds `cell_to_embedding.*`"
        raise CheckpointError(problem, hint="pass the full checkpoint, or an adapter that has it")
    return collected


def check_adapter(options: CheckpointOptions) -> None:
    """Refuse an adapter by its config alone, before any weight is read.

    Raises:
        CheckpointError: The folder has no weights, no config, or an adapter that cannot be merged.
    """
    if options.adapter is not None:
        _adapter_file(options.adapter)
        _read_scale(options.adapter, base_in_checkpoint=False)


def _collect_trained(options: CheckpointOptions, collected: CollectedTensors) -> None:
    """Open the checkpoint and the adapter."""
    lora: SortedTensors | None = None
    scale = LoraScale(alpha=options.lora_alpha)
    if options.checkpoint is not None:
        path = options.checkpoint
        tensors, kind = read_tensors(path)
        full = sort_tensors(tensors, source=str(path))
        collected.story.append(f"full checkpoint ({kind}: {full.describe()})")
        collected.files["checkpoint"] = path
        collected.parts = full.parts
        if full.lora:
            lora = full
            if (path.parent / _ADAPTER_CONFIG).is_file():
                holds_base = bool(full.parts[DECODER])
                scale = _read_scale(path.parent, base_in_checkpoint=holds_base)
    if options.adapter is not None:
        path = _adapter_file(options.adapter)
        adapter = sort_tensors(read_tensors(path)[0], source=str(path))
        if lora is not None:
            problem = f"both {options.checkpoint} and {options.adapter} hold LoRA weights"
            raise CheckpointError(problem, hint="pass only one: the adapter would count twice")
        collected.story.append(f"adapter ({path.suffix[1:]}: {adapter.describe()})")
        collected.files["adapter_config"] = options.adapter / _ADAPTER_CONFIG
        collected.files["adapter"] = path
        scale = _read_scale(options.adapter, base_in_checkpoint=False)
        lora = adapter if adapter.lora else None
        for part, tensors in adapter.parts.items():
            collected.parts[part] |= tensors
    if options.lora_alpha is not None:
        scale = LoraScale(alpha=options.lora_alpha, rank_stabilised=scale.rank_stabilised)
    collected.lora, collected.scale = lora, scale


def _adapter_file(folder: Path) -> Path:
    path = next((folder / name for name in _ADAPTER_FILES if (folder / name).is_file()), None)
    if path is None:
        problem = f"{folder} is no adapter folder: it has none of {', '.join(_ADAPTER_FILES)}"
        raise CheckpointError(problem, hint="pass the folder that PEFT's save_pretrained wrote")
    return path


def _read_scale(folder: Path, *, base_in_checkpoint: bool) -> LoraScale:
    path = folder / _ADAPTER_CONFIG
    return scale_from_config(
        read_json(path), source=str(path), base_in_checkpoint=base_in_checkpoint
    )


def _strength(lora: SortedTensors, scale: LoraScale) -> str:
    ranks = sorted({pair["A"].shape[0] for pair in lora.lora.values()})
    alpha = "2 x rank, the reference's rule" if scale.alpha is None else f"{scale.alpha:g}"
    kind = ", rank-stabilised" if scale.rank_stabilised else ""
    return f"rank {'/'.join(map(str, ranks))}, alpha {alpha}{kind}"


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
    tensors, files = read_model_folder(folder)
    collected.parts[part] = tensors | trained
    collected.story.append(f"{part} from {folder.name} ({', '.join(file.name for file in files)})")
    collected.files |= {f"{name}/{file.name}": file for file in files}
