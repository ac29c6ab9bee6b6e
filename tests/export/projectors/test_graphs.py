"""The projector graphs against their modules."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from tolerance import FLOAT32, worst_difference

from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import build_projector, write_projector_graph

MLP = {"kind": "mlp", "input_width": 32, "output_width": 48, "hidden": 64}
PERCEIVER = {
    "kind": "perceiver",
    "input_width": 32,
    "output_width": 48,
    "num_latents": 6,
    "feed_forward": 72,
}
QFORMER = {
    "kind": "qformer",
    "input_width": 32,
    "output_width": 48,
    "hidden": 40,
    "queries": 6,
    "heads": 2,
    "feed_forward": 72,
}
CONFIGS = {
    "mlp": ProjectorConfig(**MLP),
    "mlp with dropout, no bias": ProjectorConfig(**MLP, dropout=0.1, bias=False),
    "perceiver": ProjectorConfig(**PERCEIVER, heads=2, positions=40),
    "perceiver with two cross layers": ProjectorConfig(
        **PERCEIVER, heads=8, cross_layers=2, self_layers=1
    ),
    "qformer": ProjectorConfig(**QFORMER, layers=3, cross_every=2),
    "qformer that reads the rows once": ProjectorConfig(**QFORMER, layers=2, cross_every=2),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_module(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    model = build_projector(CONFIGS[name]).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    path = tmp_path / "projector.onnx"
    write_projector_graph(model, path)
    onnx.checker.check_model(path, full_check=True)
    nodes = onnx.load(path, load_external_data=False).graph.node
    assert {node.domain for node in nodes} == {""}
    session = onnxruntime.InferenceSession(path)
    for cells, rows in ((1, 1), (2, 17), (3, 40)):
        hidden = torch.randn(cells, rows, 32)
        with torch.no_grad():
            expected = model(hidden).numpy()
        (vectors,) = session.run(None, {"hidden": hidden.numpy()})
        assert worst_difference(vectors, expected) < FLOAT32
