"""Opening a checkpoint of any known layout.

One decision: whichever layout it came in, the result is one model in float32 with everything that
belongs to it; nothing later asks where it came from.
"""

from __future__ import annotations

from pathlib import Path

from c2t.export.checkpoint.folder import outline_folder
from c2t.export.checkpoint.options import CheckpointOptions, PresetOptions
from c2t.export.checkpoint.parts import outline_parts
from c2t.export.checkpoint.preset import outline_preset
from c2t.export.model.loaded_checkpoint import CheckpointOutline, LoadedCheckpoint
from c2t.runtime.system.errors import CheckpointError

CELL2TEXT = "cell2text"
# Options of other families.
_OF_OTHERS = {
    "cell2sentence": ("model", "template", "top_genes", "organism"),
    "cello1": (),  # those of cell2sentence
    "cellreasoner": ("gene_order",),
    "cellwhisperer": ("text_model", "text_lower_case", "pooling", "leave_out", "chat"),
}
# A folder that `save_checkpoint` wrote holds these itself; a second answer could contradict it.
_IN_FOLDER = (
    "geneformer",
    "llama",
    "checkpoint",
    "adapter",
    "token_dictionary",
    "gene_medians",
    "ensembl_mapping",
    "gene_names",
    "emb_layer",
    "top_k",
    "perceiver_heads",
    "perceiver_positions",
    "qformer_heads",
    "lora_alpha",
    "ignore_generation_config",
)


def outline_checkpoint(options: CheckpointOptions | PresetOptions) -> CheckpointOutline:
    """Read all of a checkpoint but the weights, within seconds.

    Args:
        options: Where its parts are, or which random one to make.

    Raises:
        CheckpointError: It cannot be used as it is.
    """
    if isinstance(options, PresetOptions):
        return outline_preset(options)
    _check_family(options)
    if options.folder is None:
        return outline_parts(options)
    values = {name: getattr(options, name) for name in _IN_FOLDER}
    given = [name for name, value in values.items() if value is not None and value is not False]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        problem = f"{options.folder} carries its own parts; also given: {names}"
        raise CheckpointError(problem, hint="pass the folder alone, or the parts without it")
    return outline_folder(options.folder, options)


def _check_family(options: CheckpointOptions) -> None:
    """Refuse another family, and options that only others have."""
    if options.family not in (None, CELL2TEXT):
        problem = f"there is no family {options.family!r}"
        hint = f"--family is {', '.join((CELL2TEXT, *_OF_OTHERS))}"
        raise CheckpointError(problem, hint=hint)
    for family, names in _OF_OTHERS.items():
        given = [name for name in names if getattr(options, name) is not None]
        if given:
            listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            problem = f"a Cell2Text checkpoint does not have these: {listed}"
            raise CheckpointError(problem, hint=f"they go with --family {family}")


def load_checkpoint(options: CheckpointOptions | PresetOptions) -> LoadedCheckpoint:
    """Load a checkpoint.

    Args:
        options: Where its parts are, or which random one to make.

    Raises:
        CheckpointError: It cannot be used as it is; every offending tensor is listed.
    """
    return outline_checkpoint(options).load()


def load_bundle_source(folder: Path | None, preset: str | None) -> LoadedCheckpoint:
    """The checkpoint that a bundle was made from: a folder's, or a preset's random one.

    Raises:
        CheckpointError: Neither or both are named, or it cannot be loaded.
    """
    if (folder is None) == (preset is None):
        problem = "PyTorch needs the weights that the bundle was made from"
        raise CheckpointError(problem, hint="give --checkpoint FOLDER or --preset NAME, not both")
    if preset is not None:
        return load_checkpoint(PresetOptions(preset=preset))
    return load_checkpoint(CheckpointOptions(folder=folder))
