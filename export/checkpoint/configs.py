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
    fields = read_json(folder / CONFIG)
    family = decoder_family(fields.get("model_type"), source=str(folder / CONFIG))
    return _config(family, fields, folder / CONFIG)


def read_reference_fields(checkpoint: Path | None) -> tuple[Path, dict[str, Any]]:
    """Read the reference's own config.json, which its `save_pretrained` leaves beside the weights.

    Args:
        checkpoint: The file of the weights.

    Returns:
        Where it is, and what it says: nothing if there is none, or one of another kind.

    Raises:
        CheckpointError: It is no JSON object.
    """
    path = Path(CONFIG) if checkpoint is None else checkpoint.with_name(CONFIG)
    if checkpoint is None or not path.is_file():
        return path, {}
    fields = read_json(path)
    # Without these it is of something else, like a Hugging Face folder.
    return path, fields if {"projector", "decoder_hidden_size"} <= fields.keys() else {}


def _config(family: ModelFamily, fields: dict[str, Any], path: Path) -> PretrainedConfig:
    try:
        config = family.config(**fields)
    # transformers validates some fields itself, by raising one of these.
    except (TypeError, ValueError, KeyError) as error:
        problem = f"{path}: {error}"
        raise CheckpointError(problem, hint="download the folder again") from error
    family.check_config(config)
    return config
