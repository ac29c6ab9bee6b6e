"""The Q-Former against transformers' own of BLIP-2, its saves, and what is asked for or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_checkpoints import QFORMER as SIZES
from reference_checkpoints import load, logits, trained
from tiny_bundle import make_bundle
from tiny_models import ReferenceLayout, tiny_cell, write_base_folders
from tolerance import FLOAT32
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from c2t.export.model.projector import ProjectorConfig, ProjectorFacts
from c2t.export.projectors import qformer
from c2t.export.projectors.families import build_projector, projector_config_from_shapes
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.errors import CheckpointError

CONFIG = ProjectorConfig(
    kind="qformer",
    input_width=16,
    hidden=24,
    output_width=20,
    queries=5,
    heads=3,
    layers=4,
    cross_every=2,
    feed_forward=36,
)


def randomised(config: ProjectorConfig) -> qformer.QFormerProjector:
    torch.manual_seed(0)
    model = build_projector(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def blip2(model: qformer.QFormerProjector) -> Blip2QFormerModel:
    """The same weights in the Q-Former of transformers, which is written by others."""
    config = model.config
    oracle = Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.feed_forward,
            encoder_hidden_size=config.hidden,
            cross_attention_frequency=config.cross_every,
            layer_norm_eps=1e-12,
        )
    ).eval()
    weights = {
        name.removeprefix("Qformer.bert.")
        .replace("embeddings.LayerNorm", "layernorm")
        .replace("attention.self", "attention.attention"): tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("Qformer.")
    }
    oracle.load_state_dict(weights, strict=True)
    return oracle


@pytest.mark.parametrize("every", [1, 2, 3])
def test_it_computes_what_the_q_former_of_blip_2_does(every: int) -> None:
    model = randomised(replace(CONFIG, cross_every=every))
    hidden = torch.randn(2, 11, 16)
    with torch.no_grad():
        rows = model.ln_cell(model.input_projection(hidden))
        seen = blip2(model)(
            query_embeds=model.query_tokens.expand(2, -1, -1), encoder_hidden_states=rows
        ).last_hidden_state
        expected = model.output_projection(seen)
        torch.testing.assert_close(model(hidden), expected, rtol=1e-4, atol=1e-5)


def shapes(config: ProjectorConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = build_projector(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_published_names() -> None:
    ends = ("weight", "bias")
    block = ["self.query", "self.key", "self.value", "output.dense", "output.LayerNorm"]
    own = ["intermediate_query.dense", "output_query.dense", "output_query.LayerNorm"]
    names = [
        "input_projection",
        "ln_cell",
        "output_projection",
        "Qformer.bert.embeddings.LayerNorm",
    ]
    for layer in range(4):
        parts = [*(f"attention.{part}" for part in block), *own]
        parts += [f"crossattention.{part}" for part in block] if layer % 2 == 0 else []
        names += [f"Qformer.bert.encoder.layer.{layer}.{part}" for part in parts]
    assert set(shapes(CONFIG)) == {"query_tokens", *(f"{n}.{e}" for n in names for e in ends)}


def test_heads_are_pubmedberts_or_asked_for() -> None:
    published = qformer.preset(512, 2048)
    assert projector_config_from_shapes(shapes(published)) == published
    # Those of a perceiver, which the run's config.json has whatever its projector is, say nothing.
    facts = ProjectorFacts(heads=8)
    assert projector_config_from_shapes(shapes(published), facts).heads == 12
    with pytest.raises(CheckpointError, match="do not show how many heads") as caught:
        projector_config_from_shapes(shapes(CONFIG), facts)
    assert "--qformer-heads" in caught.value.hint
    facts = ProjectorFacts(qformer_heads=3)
    assert projector_config_from_shapes(shapes(CONFIG), facts) == CONFIG


@pytest.mark.parametrize(
    ("left_out", "match"),
    [
        ("query_tokens", "lacks: query_tokens"),
        ("Qformer.bert.encoder.layer.0.crossattention", "lacks: .*crossattention"),
        ("Qformer.bert.encoder.layer.2.crossattention", None),
        ("Qformer.bert.encoder.layer", "lacks: "),
    ],
)
def test_what_is_missing_is_named(left_out: str, match: str | None) -> None:
    held = {name: shape for name, shape in shapes(CONFIG).items() if not name.startswith(left_out)}
    facts = ProjectorFacts(qformer_heads=3)
    if match is None:  # then only layer 0 reads rows: every fourth
        assert projector_config_from_shapes(held, facts).cross_every == 4
        return
    with pytest.raises(CheckpointError, match=match):
        projector_config_from_shapes(held, facts)


def test_layers_that_read_rows_without_a_rule_are_refused() -> None:
    held = shapes(replace(CONFIG, cross_every=1))
    held = {name: shape for name, shape in held.items() if "layer.2.crossattention" not in name}
    with pytest.raises(CheckpointError, match=r"\[0, 1, 3\] have cross-attention"):
        projector_config_from_shapes(held, ProjectorFacts(qformer_heads=3))


@pytest.mark.parametrize("heads", [0, 5])
def test_impossible_heads_are_refused(heads: int) -> None:
    with pytest.raises(CheckpointError, match="attention heads"):
        build_projector(replace(CONFIG, heads=heads))


def text_side(width: int, feed_forward: int, layers: int) -> dict[str, torch.Tensor]:
    """What a save of the reference holds besides: the BERT's side for texts and its head."""
    held = {
        "cls.predictions.bias": (30,),
        "cls.predictions.transform.dense.weight": (width, width),
        "bert.embeddings.word_embeddings.weight": (30, width),
        "bert.embeddings.position_embeddings.weight": (8, width),
        "bert.embeddings.position_ids": (1, 8),
    }
    for layer in range(layers):
        name = f"bert.encoder.layer.{layer}"
        held[f"{name}.intermediate.dense.weight"] = (feed_forward, width)
        held[f"{name}.output.dense.weight"] = (width, feed_forward)
        held[f"{name}.output.LayerNorm.weight"] = (width,)
    return {f"cell_to_embedding.Qformer.{name}": torch.zeros(s) for name, s in held.items()}


def save(folder: Path, extra: dict[str, torch.Tensor]) -> Path:
    state = ReferenceLayout(trained(SIZES)).state_dict()
    torch.save({**state, **extra}, folder / "best.pt")
    return folder / "best.pt"


def test_a_save_of_the_reference_loads(tmp_path: Path) -> None:
    config = trained(SIZES).projector.config
    extra = text_side(config.hidden, config.feed_forward, config.layers)
    folders = write_base_folders(tmp_path, SIZES)
    loaded = load(folders, SIZES, checkpoint=save(tmp_path, extra))
    assert torch.equal(logits(loaded.model, SIZES), logits(trained(SIZES), SIZES))
    assert "projector qformer, 6 queries, 3 layers, 2 heads" in loaded.layout


@pytest.mark.parametrize(
    "name", ["Qformer.bert.pooler.dense.weight", "Qformer.bert.encoder.layer.0.adapter.weight"]
)
def test_a_tensor_that_is_not_known_is_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, {f"cell_to_embedding.{name}": torch.zeros(2, 2)})
    folders = write_base_folders(tmp_path, SIZES)
    with pytest.raises(CheckpointError, match="has no place in the projector"):
        load(folders, SIZES, checkpoint=path)


def test_cells_are_described_as_by_the_pytorch_model(tmp_path: Path) -> None:
    tiny = make_bundle(tmp_path, SIZES)
    assert tiny.bundle.manifest.projector.kind == "qformer"
    assert tiny.bundle.manifest.projector.vectors == SIZES.num_latents
    tokens = [tiny_cell(length, SIZES, seed=length).numpy() for length in (5, 20, 48, 7, 20)]
    cells = EncodedCells.of_tokens(
        [cell.astype(np.int32) for cell in tokens], ids=[str(i) for i in range(len(tokens))]
    )
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))
    generation = tiny.bundle.manifest.generation
    for cell, found in zip(tokens, describer.describe([cells]), strict=True):
        assert found.error is None
        assert list(found.tokens) == tiny.reference(cell, generation)


def test_what_no_cell_changes_is_not_in_the_graph(tmp_path: Path) -> None:
    """The first self-attention of the queries was computed at export."""
    import onnx
    import onnxruntime

    from c2t.export.projectors.families import write_projector_graph

    model = randomised(CONFIG)
    path = tmp_path / "projector.onnx"
    write_projector_graph(model, path)
    names = [node.name for node in onnx.load(path, load_external_data=False).graph.node]
    assert "layers.1.attention.qkv" in names
    assert "layers.0.attention.qkv" not in names
    hidden = torch.randn(3, 7, 16)
    (vectors,) = onnxruntime.InferenceSession(path).run(None, {"hidden": hidden.numpy()})
    with torch.no_grad():
        assert np.abs(vectors - model(hidden).numpy()).max() < FLOAT32 * 10
