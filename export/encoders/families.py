"""The table of encoder families, and the look-up by `model_type`.

To add a family, write its file and its entry here. An encoder graph has the input and output that
`c2t.export.encoders.geneformer` names, whatever the family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from c2t.export.encoders import geneformer
from c2t.export.model.family import EncoderGraph, EncoderPreset, ModelFamily, find_family
from c2t.export.model.genes import EncoderVocabulary
from c2t.runtime.bundle.manifest import Encoder, GeneInput


@dataclass(frozen=True, kw_only=True)
class EncoderFamily(ModelFamily):
    """One family of encoders.

    Attributes:
        gene_input: How a cell becomes the input, from a config and the vocabulary.
        embed: PyTorch's embeddings [B, S, H] of gene tokens [B, S], the input of the graph.
        embedding_tables: The tables that make these embeddings, by their names in a bundle.
        embed_with_tables: What the runtime makes of the tables, from a config, the tables in NumPy
            and gene tokens.
        write_graph: Called with a module, the path of the graph, `emb_layer`, `rows` and `advance`;
            writes graph and data file.
        manifest_entry: What the manifest says, from a config and what was written.
        presets: Published models by name.
    """

    gene_input: Callable[[Any, EncoderVocabulary], GeneInput]
    embed: Callable[[Any, Tensor], Tensor]
    embedding_tables: Callable[[Any], dict[str, Tensor]]
    embed_with_tables: Callable[[Any, dict[str, NDArray[Any]], NDArray[Any]], NDArray[Any]]
    write_graph: Callable[..., EncoderGraph]
    manifest_entry: Callable[[Any, EncoderGraph], Encoder]
    presets: Mapping[str, EncoderPreset]


_ALL = (
    EncoderFamily(
        name="Geneformer",
        config=BertConfig,
        module=BertForMaskedLM,
        check_config=geneformer.check_config,
        restore_buffers=geneformer.restore_buffers,
        first_layer=geneformer.FIRST_LAYER,
        tied=geneformer.TIED,
        tied_by_config=geneformer.TIED_BY_CONFIG,
        tolerated=geneformer.TOLERATED,
        unneeded=geneformer.UNNEEDED,
        renamed=geneformer.RENAMED,
        settings=geneformer.SETTINGS,
        gene_input=geneformer.gene_input,
        embed=geneformer.embed,
        embedding_tables=geneformer.embedding_tables,
        embed_with_tables=geneformer.embed_with_tables,
        write_graph=geneformer.write_encoder_graph,
        manifest_entry=geneformer.manifest_entry,
        presets=geneformer.PRESETS,
    ),
)
FAMILIES = {family.model_type: family for family in _ALL}
PRESETS = {name: preset for family in _ALL for name, preset in family.presets.items()}


def encoder_family(model_type: object, *, source: str = "the encoder's config") -> EncoderFamily:
    """The family of a `model_type`.

    Args:
        model_type: What the config says.
        source: Where it says so, for the error.

    Raises:
        CheckpointError: There is no such family; the hint lists those that there are.
    """
    return find_family(FAMILIES, model_type, part="encoder", source=source)
