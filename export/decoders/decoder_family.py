"""What a family of decoders is: how to check and load it, and its parts; the graph is shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig

from c2t.export.decoders.cached_decoder import (
    MAX_POSITIONS,
    cached_positions,
    write_cached_decoder,
)
from c2t.export.decoders.parts import DecoderParts, sizes_of
from c2t.export.graphs.graph_builder import no_progress
from c2t.export.model.family import ModelFamily
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.system.progress import Advance


def plain_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits of rows behind the last norm."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    return logits


@dataclass(frozen=True, kw_only=True)
class DecoderFamily(ModelFamily):
    """One family of decoders.

    Attributes:
        parts: What a module is made of.
        presets: Configs of published models by name.
        logits: Logits of rows behind the last norm, by the module itself.
    """

    parts: Callable[[Any], DecoderParts]
    presets: Mapping[str, Callable[[], PretrainedConfig]]
    logits: Callable[[Any, Tensor], Tensor] = plain_logits

    def max_positions(self, config: PretrainedConfig) -> int:
        """Positions of the graph, prompt and text together."""
        return cached_positions(config)

    def write_graph(
        self,
        model: Any,
        path: Path,
        *,
        max_positions: int = MAX_POSITIONS,
        advance: Advance = no_progress,
    ) -> TensorReference:
        """Write the graph of a module and its data file; see `write_cached_decoder`.

        Raises:
            CheckpointError: Of a config whose graph is not written here.
        """
        self.check_config(model.config)
        positions = cached_positions(model.config, max_positions)
        return write_cached_decoder(self.parts(model), path, positions=positions, advance=advance)

    def manifest_entry(self, config: PretrainedConfig, token_embedding: TensorReference) -> Decoder:
        """What the manifest says, with the place of the token table."""
        sizes = sizes_of(config)
        return Decoder(
            model=f"{self.name}, {sizes.layers} layers, width {sizes.hidden_size}",
            layers=sizes.layers,
            hidden_size=sizes.hidden_size,
            heads=sizes.heads,
            kv_heads=sizes.kv_heads,
            head_size=sizes.head_size,
            vocabulary_size=sizes.vocabulary_size,
            max_positions=self.max_positions(config),
            token_embedding=token_embedding,
        )
