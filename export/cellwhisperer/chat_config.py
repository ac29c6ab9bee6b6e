"""What the `config.json` of CellWhisperer's chat says: a Mistral, and what stands before it.

One decision: the folder is LLaVA's, whose images are cells here. What would change the prompt or
the projector is read or refused; what LLaVA says of images and of training is left out by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from c2t.export.checkpoint.configs import CONFIG, decoder_config_of, read_json
from c2t.runtime.system.errors import CheckpointError

PROJECTOR_TYPE = "mlp2x_8t_gelu"
MODEL_TYPES = ("llava_mistral", "mistral")
# LLaVA's fields that no cell and no text depends on.
_OF_IMAGES = frozenset({
    "mm_vision_tower", "mm_vision_select_layer", "mm_vision_select_feature", "mm_patch_merge_type",
    "mm_projector_lr", "mm_vision_tower_lr", "use_mm_proj", "tune_mm_mlp_adapter",
    "freeze_mm_mlp_adapter", "unfreeze_mm_vision_tower", "image_aspect_ratio",
    "image_crop_resolution", "image_split_resolution", "image_grid_pinpoints",
    "tokenizer_padding_side", "tokenizer_model_max_length",
})  # fmt: skip
# Each puts tokens of its own beside an image.
_TOKENS = ("mm_use_im_start_end", "mm_use_im_patch_token")


@dataclass(frozen=True, kw_only=True)
class ChatConfig:
    """What was read.

    Attributes:
        decoder: The Mistral's.
        space: Numbers of a place in the joint space, as the projector reads it.
    """

    decoder: PretrainedConfig
    space: int


def read_chat_config(folder: Path) -> ChatConfig:
    """Read the `config.json` of a chat's folder.

    Raises:
        CheckpointError: It is missing or damaged, of another decoder or projector, or has a field
            that may change what is computed.
    """
    path = folder / CONFIG
    fields = read_json(path)
    kind = fields.get("model_type")
    if kind not in MODEL_TYPES:
        problem = f"{path}: model_type is {kind!r}"
        raise CheckpointError(problem, hint=f"CellWhisperer's chat is a {' or '.join(MODEL_TYPES)}")
    projector = fields.get("mm_projector_type")
    if projector != PROJECTOR_TYPE:
        problem = f"{path}: mm_projector_type is {projector!r}"
        raise CheckpointError(problem, hint=f"c2t reads {PROJECTOR_TYPE!r}, as it is published")
    space = fields.get("mm_hidden_size")
    if not isinstance(space, int) or isinstance(space, bool) or space < 1:
        problem = f"{path}: mm_hidden_size is {space!r}"
        raise CheckpointError(problem, hint="expected the size of the joint space, a whole number")
    for name in _TOKENS:
        if fields.get(name):
            problem = f"{path}: {name} is {fields[name]!r}"
            hint = "c2t puts no tokens beside a cell; the published chat has none"
            raise CheckpointError(problem, hint=hint)
    decoder = decoder_config_of(_of_decoder(fields), path)
    return ChatConfig(decoder=decoder, space=space)


def _of_decoder(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are left when LLaVA's are taken away."""
    known = {*_OF_IMAGES, *_TOKENS, "mm_projector_type", "mm_hidden_size", "model_type"}
    left = {name: value for name, value in fields.items() if name not in known}
    return {**left, "model_type": "mistral"}
