"""The tables of families: their entries can be looked up, made, and recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace

import pytest
import torch
from transformers import PretrainedConfig

from c2t.export.cell2sentence.outline import outline_sentences
from c2t.export.cellwhisperer.outline import outline_joint
from c2t.export.checkpoint.options import CheckpointOptions, option_name
from c2t.export.decoders import families as decoders
from c2t.export.encoders import families as encoders
from c2t.export.model.family import ModelFamily
from c2t.export.model.projector import ProjectorConfig, ProjectorFacts
from c2t.export.projectors import families as projectors
from c2t.export.projectors import mlp2x
from c2t.runtime.system.errors import CheckpointError

CONFIGS = [
    *((encoders.FAMILIES, preset.config) for preset in encoders.PRESETS.values()),
    *((decoders.FAMILIES, preset) for preset in decoders.PRESETS.values()),
]


@pytest.mark.parametrize(("table", "preset"), CONFIGS, ids=[*encoders.PRESETS, *decoders.PRESETS])
def test_presets_are_configs_that_their_family_exports(
    table: Mapping[str, ModelFamily], preset: Callable[[], PretrainedConfig]
) -> None:
    config = preset()
    family = table[config.model_type]
    assert isinstance(config, family.config)
    family.check_config(config)


@pytest.mark.parametrize(
    ("find", "kind", "known"),
    [
        (encoders.encoder_family, "esm", "bert (Geneformer)"),
        (decoders.decoder_family, "gpt2", "gpt_neox (GPT-NeoX)"),
        (decoders.decoder_family, None, "llama (Llama)"),
        (decoders.decoder_family, ["llama"], "llama (Llama)"),
        (projectors.projector_family, "abstractor", "`qformer` or `perceiver`"),
    ],
)
def test_unknown_families_are_refused_with_the_known_ones(
    find: Callable[[object], object], kind: object, known: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        find(kind)
    assert repr(kind) in caught.value.problem
    assert known in caught.value.hint


# The joint projector has no preset: no decoder reads its vectors.
@pytest.mark.parametrize("kind", [kind for kind in projectors.FAMILIES if kind != "joint"])
def test_a_projector_is_recognised_by_its_weights(kind: str) -> None:
    config = projectors.FAMILIES[kind].preset(16, 24)
    with torch.device("meta"):
        model = projectors.build_projector(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    facts = ProjectorFacts(heads=config.heads)
    assert projectors.projector_config_from_shapes(shapes, facts) == config
    fixed = config.num_latents or config.queries or mlp2x.VECTORS
    assert projectors.cell_vectors(config, 7) == (7 if model.takes_top_k else fixed)


@pytest.mark.parametrize(
    "config",
    [
        ProjectorConfig(kind="mlp", input_width=4, output_width=4),
        ProjectorConfig(kind="perceiver", input_width=4, output_width=4),
        ProjectorConfig(kind="qformer", input_width=4, output_width=4, hidden=4, heads=2),
        ProjectorConfig(
            kind="perceiver", input_width=4, output_width=4, num_latents=2, feed_forward=8, heads=0
        ),
    ],
)
def test_impossible_sizes_are_refused(config: ProjectorConfig) -> None:
    with pytest.raises(CheckpointError):
        projectors.build_projector(config)


# What an export of another family uses; it refuses every other option.
SENTENCES = {
    *("family", "model", "adapter", "lora_alpha", "name", "template", "top_genes"),
    *("max_new_tokens", "num_beams", "no_repeat_ngram_size", "early_stopping"),
    *("length_penalty", "repetition_penalty", "stop_strings", "ignore_generation_config"),
    *("phrases", "fields", "ontology"),
}
USED = {
    "cell2sentence": {*SENTENCES, "organism"},
    "cello1": {*SENTENCES, "organism", "chat_template"},
    "cellreasoner": {*SENTENCES, "gene_order", "chat_template"},
    "cellwhisperer": {
        *("family", "geneformer", "text_model", "checkpoint", "name", "emb_layer", "pooling"),
        *("token_dictionary", "gene_medians", "ensembl_mapping", "gene_names"),
        *("text_lower_case", "leave_out", "chat"),
    },
}
OUTLINES = dict.fromkeys(USED, outline_sentences) | {"cellwhisperer": outline_joint}


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (family, field.name)
        for family, used in USED.items()
        for field in fields(CheckpointOptions)
        if field.name not in used
    ],
)
def test_no_option_is_without_effect(family: str, name: str) -> None:
    options = replace(CheckpointOptions(family=family), **{name: "given"})
    with pytest.raises(CheckpointError) as caught:
        OUTLINES[family](options)
    assert caught.value.problem.endswith(f"given: {option_name(name)}")
