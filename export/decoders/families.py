"""The table of decoder families, and the look-up by `model_type`.

To add a family, write its file and its entry here. A decoder graph has the inputs and outputs that
`c2t.export.decoders.cached_decoder` lists, whatever the family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig

from c2t.export.decoders import cached_decoder, llama
from c2t.export.model.family import ModelFamily, find_family
from c2t.runtime.bundle.manifest import Decoder, TensorReference


@dataclass(frozen=True, kw_only=True)
class DecoderFamily(ModelFamily):
    """One family of decoders.

    Attributes:
        max_positions: Positions of the graph, prompt and text together, from a config.
        write_graph: Called with a module, the path of the graph and `advance`; writes graph and
            data file, returns where the token table lies.
        manifest_entry: What the manifest says, from a config and the place of the token table.
        presets: Configs of published models by name.
    """

    max_positions: Callable[[Any], int]
    write_graph: Callable[..., TensorReference]
    manifest_entry: Callable[[Any, TensorReference], Decoder]
    presets: Mapping[str, Callable[[], PretrainedConfig]]


_ALL = (
    DecoderFamily(
        name="Llama",
        config=LlamaConfig,
        module=LlamaForCausalLM,
        check_config=llama.check_config,
        restore_buffers=llama.restore_buffers,
        first_layer=llama.FIRST_LAYER,
        tied_by_config=llama.TIED_BY_CONFIG,
        tolerated_endings=llama.TOLERATED_ENDINGS,
        settings=llama.SETTINGS,
        neutral=llama.NEUTRAL,
        translate=llama.translate,
        max_positions=cached_decoder.cached_positions,
        write_graph=llama.write_decoder_graph,
        manifest_entry=llama.manifest_entry,
        presets=llama.PRESETS,
    ),
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
