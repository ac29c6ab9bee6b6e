"""The settings of a checkpoint: what options replace, and what folders of other programs say.

One decision: a value that a file states is read with its type, so that a wrong one is an error with
the file's name, and not a failure an hour later.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
from transformers import PreTrainedTokenizerBase

from c2t.export.checkpoint.configs import read_reference_fields
from c2t.export.checkpoint.options import CheckpointOptions, read_system_message
from c2t.export.checkpoint.text.generation import option_values, read_generation
from c2t.export.model.loaded_checkpoint import CheckpointSettings
from c2t.export.model.projector import ProjectorFacts
from c2t.runtime.bundle.manifest import Licence
from c2t.runtime.system.errors import CheckpointError

# What the reference implementation takes when nothing says otherwise.
TOP_K, EMB_LAYER = 256, -1
_MESSAGES = ("name", "user_message", "placeholder_token", "date")


class ReferenceConfig(msgspec.Struct, frozen=True):
    """The reference's own config.json, but for its generation settings (`read_generation`)."""

    emb_mode: str = "gene"
    emb_layer: int | None = None
    top_k: int | None = None
    perceiver_num_heads: int | None = None
    num_heads: int | None = None  # the same, as older training scripts call it
    use_position_encoding: bool | None = None


def override_settings(
    settings: CheckpointSettings, options: CheckpointOptions
) -> CheckpointSettings:
    """Settings with those replaced that the options name.

    Raises:
        CheckpointError: The file of the system message cannot be read, or is given beside one.
    """
    changed = {
        name: getattr(options, name) for name in _MESSAGES if getattr(options, name) is not None
    }
    generation = option_values(options)
    message = read_system_message(options)
    if message is not None:
        changed["system_message"] = message
    return replace(settings, generation=replace(settings.generation, **generation), **changed)


def read_reference_config(checkpoint: Path | None) -> ReferenceConfig:
    """Read the reference's config beside a checkpoint file; without one, nothing is stated.

    Raises:
        CheckpointError: It states a value of another type, or an encoder of whole cells.
    """
    path, fields = read_reference_fields(checkpoint)
    try:
        config = msgspec.convert(fields, ReferenceConfig)
    except msgspec.ValidationError as error:
        problem = f"{path}: {error}"
        raise CheckpointError(problem, hint="check the config.json of the training run") from error
    if config.emb_mode != "gene":
        problem = f"{path}: emb_mode is {config.emb_mode!r}"
        raise CheckpointError(problem, hint="only gene-level encoders (emb_mode gene) are known")
    return config


def projector_facts(options: CheckpointOptions, reference: ReferenceConfig) -> ProjectorFacts:
    """What is stated of a projector that its weights do not show; options come first.

    Raises:
        CheckpointError: The reference's config states two numbers of heads.
    """
    stated = {reference.perceiver_num_heads, reference.num_heads} - {None}
    heads, positions = options.perceiver_heads, options.perceiver_positions
    if heads is None and len(stated) > 1:
        problem = (
            f"the training run's config.json says perceiver_num_heads "
            f"{reference.perceiver_num_heads}, but num_heads {reference.num_heads}"
        )
        raise CheckpointError(problem, hint="pass --perceiver-heads, the number that it had")
    return ProjectorFacts(
        heads=next(iter(stated), None) if heads is None else heads,
        positions=reference.use_position_encoding if positions is None else positions,
        qformer_heads=options.qformer_heads,
    )


def settings_of_parts(
    options: CheckpointOptions,
    geneformer: Path,
    llama: Path,
    tokenizer: PreTrainedTokenizerBase,
) -> CheckpointSettings:
    """The settings of a checkpoint that is spread over folders and files.

    Raises:
        CheckpointError: See `read_generation`; or the file of the system message is unreadable.
    """
    settings = CheckpointSettings(
        name=f"{geneformer.name}+{llama.name}",
        system_message="",  # no weights carry it: `render_prompt` asks for it
        generation=read_generation(options, llama, tokenizer),
        licences=(licence_of("encoder", geneformer), licence_of("decoder", llama)),
    )
    return override_settings(settings, options)


def licence_of(part: str, folder: Path) -> Licence:
    """The licence that a folder's model card names, as the licence of a part."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.search(r"^license:\s*(\S+)\s*$", text, re.MULTILINE)
    licence = match[1] if match else "not stated in the folder"
    return Licence(part=part, licence=licence, notice=f"weights of {folder.name}")
