"""JSON files of a checkpoint: among them the configs of encoder and decoder, by their families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.export.model.family import ModelFamily
from c2t.runtime.system import checked_read
from c2t.runtime.system.errors import CheckpointError

CONFIG = "config.json"
# How a module of PyTorch is run and what its call returns: left out, as some would make it fail.
_CALLING = frozenset({
    "gradient_checkpointing", "output_attentions", "output_hidden_states", "output_scores",
    "return_dict", "torchscript", "chunk_size_feed_forward", "attn_implementation",
    "_attn_implementation", "_attn_implementation_internal", "_attn_implementation_autoset",
})  # fmt: skip
# Fields of any config.json that change nothing that is exported: notes, and the settings of
# `generate`, which are read where generation is set up.
_UNREAD = frozenset({
    "model_type", "architectures", "transformers_version", "torch_dtype", "dtype",
    "tokenizer_class", "task_specific_params", "finetuning_task", "problem_type", "id2label",
    "label2id", "num_labels", "prefix", "license", "initializer_range", "use_cache", "cache_dir",
    "tie_word_embeddings", "use_bfloat16", "output_past", "tf_legacy_loss", "use_flash_attn",
    "flash_attn_2_enabled", "unsloth_version", "unsloth_fixed", "base_model_name_or_path",
    "model_name", "name", "model_max_length", "max_sequence_length", "bos_token_id",
    "eos_token_id", "pad_token_id", "sep_token_id",
    "cls_token_id", "mask_token_id", "unk_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "suppress_tokens",
    "begin_suppress_tokens", "do_sample", "temperature", "top_k", "top_p", "typical_p",
    "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "num_beams", "num_beam_groups", "diversity_penalty",
    "num_return_sequences", "early_stopping", "max_length", "max_new_tokens", "min_length",
    "min_new_tokens", "remove_invalid_values", "return_dict_in_generate",
    "exponential_decay_length_penalty", "renormalize_logits",
})  # fmt: skip
_NEUTRAL: dict[str, Any] = {"is_decoder": False, "is_encoder_decoder": False}
# The longest are gene dictionaries: the published ones have 4 MB.
JSON_BYTES_MAX = 256 << 20


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: The file is missing, longer than `JSON_BYTES_MAX`, or no JSON object.
    """
    fields: dict[str, Any] = checked_read.read_json(
        path,
        dict[str, Any],
        bytes_max=JSON_BYTES_MAX,
        error=CheckpointError,
        hint="check that the folder is complete",
    )
    return fields


def read_encoder_config(folder: Path) -> PretrainedConfig:
    """Read the `config.json` of an encoder.

    Raises:
        CheckpointError: It is missing or damaged, of an unknown family, or of a model whose graph
            that family cannot write.
    """
    fields = read_json(folder / CONFIG)
    family = encoder_family(fields.get("model_type"), source=str(folder / CONFIG))
    return _config(family, fields, folder / CONFIG)


def read_decoder_config(folder: Path) -> PretrainedConfig:
    """Read the `config.json` of a decoder; raises like `read_encoder_config`."""
    return decoder_config_of(read_json(folder / CONFIG), folder / CONFIG)


def decoder_config_of(fields: dict[str, Any], path: Path) -> PretrainedConfig:
    """The config of a decoder, of the fields of its file; raises like `read_encoder_config`."""
    family = decoder_family(fields.get("model_type"), source=str(path))
    return _config(family, fields, path)


def read_model_config(family: ModelFamily, folder: Path) -> PretrainedConfig:
    """Read the `config.json` of a model whose family is known.

    Raises:
        CheckpointError: It is missing or damaged, of another family, or of a model whose graph the
            family cannot write.
    """
    fields = read_json(folder / CONFIG)
    kind = fields.get("model_type", family.model_type)  # Google's first checkpoints say none
    if kind != family.model_type:
        problem = f"{folder / CONFIG}: model_type is {kind!r}, no {family.name}"
        raise CheckpointError(problem, hint=f"expected {family.model_type!r}")
    return _config(family, fields, folder / CONFIG)


def read_reference_fields(checkpoint: Path | None) -> tuple[Path, dict[str, Any]]:
    """Read the reference's own config.json, which its `save_pretrained` leaves beside the weights.

    Args:
        checkpoint: The file or folder of the weights.

    Returns:
        Where it is, and what it says: nothing if there is none, or one of another kind.

    Raises:
        CheckpointError: It is no JSON object.
    """
    if checkpoint is None:
        return Path(CONFIG), {}
    path = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / CONFIG
    if not path.is_file():
        return path, {}
    fields = read_json(path)
    # Without these it is of something else, like a Hugging Face folder.
    return path, fields if {"projector", "decoder_hidden_size"} <= fields.keys() else {}


def _config(family: ModelFamily, fields: dict[str, Any], path: Path) -> PretrainedConfig:
    """Make a config of its fields, none of which may be left unread."""
    try:
        fields = family.translate(fields)
    except CheckpointError as error:
        problem = f"{path}: {error.problem}"
        raise CheckpointError(problem, hint=error.hint) from error
    fields = {name: value for name, value in fields.items() if name not in _CALLING}
    _check_fields(family, fields, path)
    read = {"tie_word_embeddings", "bos_token_id", "eos_token_id", *family.settings}
    try:
        config = family.config(**{name: fields[name] for name in read & fields.keys()})
    # transformers validates some fields itself, by raising one of these.
    except (TypeError, ValueError, KeyError) as error:
        words = str(error.args[0]) if error.args else type(error).__name__
        problem = f"{path}: {words}"
        raise CheckpointError(problem, hint="check this field, or download the folder again") from (
            error
        )
    family.check_config(config)
    return config


def _check_fields(family: ModelFamily, fields: dict[str, Any], path: Path) -> None:
    """Refuse fields that may change what the model computes and that nothing here reads.

    Raises:
        CheckpointError: Names the field and its value.
    """
    method = fields.get("quantization_config") or fields.get("compression_config")
    if method:
        kind = method.get("quant_method", method) if isinstance(method, dict) else method
        problem = f"{path}: quantization_config is {kind!r}: the weights are quantised"
        hint = (
            "pass the folder of the unquantised model; if its weights are floats nevertheless, "
            "remove the field"
        )
        raise CheckpointError(problem, hint=hint)
    neutral = {**_NEUTRAL, **family.neutral}
    for name, value in fields.items():
        # Whatever starts with an underscore is a note of the program that wrote the file.
        if name in _UNREAD or name in family.settings or name.startswith("_"):
            continue
        if value == neutral.get(name) or value is None or value is False or value in ({}, [], ""):
            continue
        problem = f"{path}: {name} is {value!r}, which c2t does not read"
        hint = (
            f"a {family.name} with it may compute something else; if it does not, remove the field"
        )
        raise CheckpointError(problem, hint=hint)
