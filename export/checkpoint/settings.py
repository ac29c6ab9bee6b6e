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

from c2t.export.checkpoint.configs import CONFIG, read_json
from c2t.export.checkpoint.options import CheckpointOptions, read_system_message
from c2t.export.model.loaded_checkpoint import CheckpointSettings
from c2t.runtime.bundle.manifest import Generation, Licence
from c2t.runtime.system.errors import CheckpointError

# What the reference implementation takes when nothing says otherwise; beams: greedy.
TOP_K, MAX_NEW_TOKENS, NO_REPEAT_NGRAM_SIZE, EMB_LAYER = 256, 100, 3, -1
_MESSAGES = ("name", "user_message", "placeholder_token", "date")
_GENERATION = ("max_new_tokens", "num_beams", "no_repeat_ngram_size")


class ReferenceConfig(msgspec.Struct, frozen=True):
    """The reference's own config.json, which its `save_pretrained` leaves beside the weights."""

    emb_mode: str = "gene"
    emb_layer: int | None = None
    top_k: int | None = None
    perceiver_num_heads: int | None = None
    max_length: int | None = None
    no_repeat_ngram_size: int | None = None


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
    generation = {
        name: getattr(options, name) for name in _GENERATION if getattr(options, name) is not None
    }
    message = read_system_message(options)
    if message is not None:
        changed["system_message"] = message
    return replace(settings, generation=replace(settings.generation, **generation), **changed)


def read_reference_config(checkpoint: Path | None) -> ReferenceConfig:
    """Read the reference's config beside a checkpoint file; without one, nothing is stated.

    Raises:
        CheckpointError: It states a value of another type, or an encoder of whole cells.
    """
    path = None if checkpoint is None else checkpoint.with_name(CONFIG)
    if path is None or not path.is_file():
        return ReferenceConfig()
    fields = read_json(path)
    if not {"projector", "decoder_hidden_size"} <= fields.keys():
        return ReferenceConfig()  # it is of something else, like a Hugging Face folder
    try:
        config = msgspec.convert(fields, ReferenceConfig)
    except msgspec.ValidationError as error:
        problem = f"{path}: {error}"
        raise CheckpointError(problem, hint="check the config.json of the training run") from error
    if config.emb_mode != "gene":
        problem = f"{path}: emb_mode is {config.emb_mode!r}"
        raise CheckpointError(problem, hint="only gene-level encoders (emb_mode gene) are known")
    return config


def settings_of_parts(
    options: CheckpointOptions,
    geneformer: Path,
    llama: Path,
    tokenizer: PreTrainedTokenizerBase,
    reference: ReferenceConfig,
) -> CheckpointSettings:
    """The settings of a checkpoint that is spread over folders and files.

    Raises:
        CheckpointError: No end token is named, or the file of the system message is unreadable.
    """
    limit, ngram = reference.max_length, reference.no_repeat_ngram_size
    generation = Generation(
        max_new_tokens=MAX_NEW_TOKENS if limit is None else limit,
        no_repeat_ngram_size=NO_REPEAT_NGRAM_SIZE if ngram is None else ngram,
        eos_token_ids=_end_tokens(llama, tokenizer),
    )
    settings = CheckpointSettings(
        name=f"{geneformer.name}+{llama.name}",
        system_message="",  # no weights carry it: `render_prompt` asks for it
        generation=generation,
        licences=(_licence("encoder", geneformer), _licence("decoder", llama)),
    )
    return override_settings(settings, options)


def _end_tokens(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The end tokens `generate` would use: generation_config.json, then config.json."""
    for name in ("generation_config.json", CONFIG):
        ends = read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        if ends is None:
            continue
        listed = ends if isinstance(ends, list) else [ends]
        if not all(isinstance(end, int) for end in listed):
            problem = f"{folder / name}: eos_token_id is {ends!r}"
            raise CheckpointError(problem, hint="it must be a token id, or a list of them")
        return tuple(listed)
    if tokenizer.eos_token_id is None:
        problem = f"{folder} names no end token"
        raise CheckpointError(problem, hint="add eos_token_id to generation_config.json")
    return (int(tokenizer.eos_token_id),)


def _licence(part: str, folder: Path) -> Licence:
    """The licence that the folder's model card names."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.search(r"^license:\s*(\S+)\s*$", text, re.MULTILINE)
    licence = match[1] if match else "not stated in the folder"
    return Licence(part=part, licence=licence, notice=f"weights of {folder.name}")
