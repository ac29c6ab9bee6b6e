"""The graph of the joint projector against its module, and what it refuses."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_joint import SPACE, randomised
from tolerance import FLOAT32, worst_difference

from c2t.export.graphs.joint_block import fold_batch_norm
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import build_projector, projector_family, write_projector_graph
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.system.errors import CheckpointError

WIDTH = 32
CASES = [("mean", False), ("mean", True), ("cls", True)]


def config(pooling: str = "mean", special: bool = False) -> ProjectorConfig:
    return ProjectorConfig(
        kind="joint",
        input_width=WIDTH,
        output_width=SPACE,
        pooling=pooling,
        special_tokens=special,
    )


@pytest.mark.parametrize(("pooling", "special"), CASES)
def test_equals_the_module(tmp_path: Path, pooling: str, special: bool) -> None:
    model = randomised(build_projector(config(pooling, special)), 3)
    path = tmp_path / "projector.onnx"
    write_projector_graph(model, path)
    onnx.checker.check_model(path, full_check=True)
    check_graph(path)  # only operators that a bundle may have
    session = onnxruntime.InferenceSession(path)
    for cells, rows in ((1, 3), (2, 17), (3, 400)):
        hidden = torch.randn(cells, rows, WIDTH) * 3
        with torch.no_grad():
            expected = model(hidden).numpy()
        (vectors,) = session.run(None, {"hidden": hidden.numpy()})
        assert vectors.shape == (cells, 1, SPACE)
        assert worst_difference(vectors, expected) < FLOAT32
        assert np.abs(np.linalg.norm(vectors, axis=-1) - 1).max() < FLOAT32


def test_folding_moves_the_statistics_into_the_linear() -> None:
    torch.manual_seed(1)
    linear, norm = torch.nn.Linear(WIDTH, SPACE, bias=False), torch.nn.BatchNorm1d(SPACE)
    randomised(norm, 4)
    weight, bias = fold_batch_norm(linear, norm)
    x = torch.randn(5, WIDTH)
    with torch.no_grad():
        expected = norm(linear(x)).numpy()
    assert worst_difference((x @ weight.T + bias).numpy(), expected) < FLOAT32


def test_refuses_a_cls_row_that_is_not_there_and_other_poolings() -> None:
    for wrong, words in ((config("cls"), "no <cls>"), (config("max"), "unknown pooling 'max'")):
        with pytest.raises(CheckpointError, match=words):
            build_projector(wrong)
    with pytest.raises(CheckpointError, match="leads to no decoder"):
        projector_family("joint").preset(WIDTH, SPACE)
