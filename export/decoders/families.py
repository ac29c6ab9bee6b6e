"""The table of decoder families, and the look-up by `model_type`.

To add a family, write its file and its entry here. A decoder graph has the inputs and outputs that
`c2t.export.decoders.cached_decoder` lists, whatever the family.
"""

from __future__ import annotations

from c2t.export.decoders import gemma2, gpt_neox, llama, mistral, phi3, qwen2, qwen3
from c2t.export.decoders.decoder_family import DecoderFamily
from c2t.export.model.family import find_family

_ALL = (
    llama.FAMILY,
    mistral.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    gpt_neox.FAMILY,
    gemma2.FAMILY,
    phi3.FAMILY,
)
FAMILIES = {family.model_type: family for family in _ALL}
PRESETS = {name: preset for family in _ALL for name, preset in family.presets.items()}


def decoder_family(model_type: object, *, source: str = "the decoder's config") -> DecoderFamily:
    """The family of a `model_type`.

    Args:
        model_type: What the config says.
        source: Where it says so, for the error.

    Raises:
        CheckpointError: There is no such family; the hint lists those that there are.
    """
    return find_family(FAMILIES, model_type, part="decoder", source=source)
