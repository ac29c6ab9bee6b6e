"""The projector of CellWhisperer's chat: its graph, its place in a whole model, and refusals."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_bundle import write_bundle
from tiny_joint import SPACE, randomised
from tiny_models import TinySizes, tiny_cell, tiny_checkpoint
from tolerance import FLOAT32, worst_difference

from c2t.export.checkpoint.check import check_projector
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import (
    build_projector,
    projector_config_from_shapes,
    write_projector_graph,
)
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.errors import CheckpointError

WIDTH, DECODER = 16, 24
CONFIG = ProjectorConfig(
    kind="mlp2x_8t", input_width=WIDTH, hidden=SPACE, output_width=DECODER, special_tokens=True
)


def test_equals_the_module_and_the_published_order(tmp_path: Path) -> None:
    model = randomised(build_projector(CONFIG), 5)
    path = tmp_path / "projector.onnx"
    write_projector_graph(model, path)
    check_graph(path)
    session = onnxruntime.InferenceSession(path)
    for groups, cells in ((1, 1), (3, 1), (2, 17)):
        hidden = torch.randn(groups, cells, WIDTH)
        with torch.no_grad():
            expected = model(hidden).numpy()
        (vectors,) = session.run(None, {"hidden": hidden.numpy()})
        assert vectors.shape == (groups, 8, DECODER)
        assert worst_difference(vectors, expected) < FLOAT32
    # By hand: a group is the mean of its cells' places, which have length 1; the second linear's
    # rows 0 to D-1 are the first vector, and so on.
    places = torch.stack([model.joint.block(cell) for cell in hidden])
    assert torch.allclose(places.norm(dim=-1), torch.ones(2, 17))
    place = places.mean(dim=1)
    first, _, second = model.mm_projector
    wide = torch.nn.functional.gelu(place @ first.weight.T + first.bias)
    rows = slice(2 * DECODER, 3 * DECODER)
    third = wide @ second.weight[rows].T + second.bias[rows]
    assert worst_difference(vectors[:, 2], third.detach().numpy()) < FLOAT32


def test_a_decoder_writes_behind_its_vectors_as_pytorch_does(tmp_path: Path) -> None:
    loaded = tiny_checkpoint(TinySizes())
    projector = randomised(build_projector(CONFIG), 6).requires_grad_(False)
    model = Cell2TextModel(loaded.model.encoder, projector, loaded.model.decoder)
    bundle = write_bundle(tmp_path, replace(loaded, model=model.eval())).bundle
    assert (bundle.manifest.projector.kind, bundle.manifest.projector.vectors) == ("mlp2x_8t", 8)
    cells = [tiny_cell(length, seed=length) for length in (5, 20)]
    describer = Describer(bundle, DescribeOptions(engine="cpu", threads=1))
    found = describer.describe([EncodedCells.of_tokens([cell.tolist() for cell in cells])])
    for cell, description in zip(cells, found, strict=True):
        expected = model.generate(cell, loaded.prompt, loaded.generation)
        assert list(description.tokens) == expected


def test_a_group_is_the_mean_of_places_not_of_vectors(tmp_path: Path) -> None:
    """Number by number against PyTorch, whose joint projector pools genes itself."""
    loaded = tiny_checkpoint(TinySizes())
    projector = randomised(build_projector(CONFIG), 6).requires_grad_(False)
    projector.mm_projector[0].weight *= 8  # GELU is then far from linear
    model = Cell2TextModel(loaded.model.encoder, projector, loaded.model.decoder).eval()
    bundle = write_bundle(tmp_path, replace(loaded, model=model)).bundle
    cells = [tiny_cell(length, seed=length) for length in (5, 20, 20, 9)]
    describer = Describer(bundle, DescribeOptions(engine="cpu", threads=1))
    mean = describer.group_mean
    tokens = [cell.numpy().astype(np.int32) for cell in cells]
    found = dict(mean.encoded(describer.engines, tokens, 8))
    vectors = mean.of([found[place] for place in range(4)])
    with torch.no_grad():
        rows = [
            model.encoder.base_model(input_ids=cell[None], output_hidden_states=True).hidden_states
            for cell in cells
        ]
        place = torch.stack([projector.joint(of_cell[model.layers_run])[0, 0] for of_cell in rows])
        expected = projector.mm_projector(place.mean(dim=0)).view(8, -1)
        alone = projector.mm_projector(place[1]).view(8, -1)
    assert worst_difference(vectors, expected.numpy()) < FLOAT32
    assert worst_difference(mean.of([found[1]]), alone.numpy()) < FLOAT32
    other = np.mean([found[place].vectors for place in range(4)], axis=0)
    assert worst_difference(other, expected.numpy()) > 100 * FLOAT32


def test_reads_its_sizes_from_shapes() -> None:
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in build_projector(CONFIG).state_dict().items()}
    assert projector_config_from_shapes(shapes) == replace(CONFIG, special_tokens=False)
    shapes["mm_projector.2.weight"] = torch.Size([100, 100])
    with pytest.raises(CheckpointError, match="not 8 vectors wide"):
        projector_config_from_shapes(shapes)
    with pytest.raises(CheckpointError, match="vectors of 0 numbers"):
        build_projector(replace(CONFIG, output_width=0))
    assert np.prod(shapes["mm_projector.0.weight"]) == 8 * DECODER * SPACE


def test_refuses_to_pool_special_tokens_that_nobody_spoke_of() -> None:
    loaded = tiny_checkpoint(TinySizes())
    outline = SimpleNamespace(
        encoder=loaded.model.encoder.config, decoder=loaded.model.decoder.config, genes=loaded.genes
    )
    with pytest.raises(CheckpointError, match="<cls> and <eos> are around them"):
        check_projector(outline, replace(CONFIG, special_tokens=False))
