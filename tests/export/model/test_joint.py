"""The PyTorch reading of the joint space against the published description, in plain NumPy."""

import numpy as np
import pytest
import torch
from tiny_joint import SPACE, TEXT_WIDTH, WORDS, randomised, tiny_joint
from tiny_models import TinySizes, tiny_cell
from tolerance import FLOAT32, worst_difference

from c2t.export.model.joint import JointBlock


def block_by_hand(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """Linear without bias, BatchNorm, ReLU, Linear; a shortcut; LayerNorm; length 1; in float64."""
    up = x @ w["feature_nonlinear.0.weight"].T
    up = (up - w["feature_nonlinear.1.running_mean"]) / np.sqrt(
        w["feature_nonlinear.1.running_var"] + 1e-5
    )
    up = np.maximum(up * w["feature_nonlinear.1.weight"] + w["feature_nonlinear.1.bias"], 0)
    up = up @ w["feature_nonlinear.3.weight"].T + w["feature_nonlinear.3.bias"]
    total = up + x @ w["feature_shortcut.weight"].T + w["feature_shortcut.bias"]
    centred = total - total.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    normed = normed * w["feature_block_ln.weight"] + w["feature_block_ln.bias"]
    return normed / np.sqrt((normed**2).sum(axis=-1, keepdims=True))


def numbers(block: JointBlock) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in block.state_dict().items()}


def test_block_is_the_published_one() -> None:
    block = randomised(JointBlock(TEXT_WIDTH, SPACE), 5)
    x = torch.randn(7, TEXT_WIDTH)
    with torch.no_grad():
        result = block(x).numpy()
    assert worst_difference(result, block_by_hand(x.double().numpy(), numbers(block))) < FLOAT32
    # The statistics matter: without them it is another function.
    other = numbers(block) | {"feature_nonlinear.1.running_mean": np.zeros(SPACE)}
    assert worst_difference(result, block_by_hand(x.double().numpy(), other)) > 1e-2


@pytest.mark.parametrize(
    ("version", "pooling", "taken"),
    [(1, "mean", slice(None)), (2, "mean", slice(1, -1)), (2, "cls", slice(0, 1))],
)
def test_cells_are_pooled_over_genes_of_the_second_to_last_layer(version, pooling, taken) -> None:
    model = tiny_joint(version=version, pooling=pooling)
    tokens = tiny_cell(12, TinySizes(version=version))[None]
    states = model.encoder.bert(tokens, output_hidden_states=True).hidden_states
    rows = states[-2][0].double().numpy()[taken]
    expected = block_by_hand(rows.mean(axis=0, keepdims=True), numbers(model.projector.block))
    assert worst_difference(model.embed_cells(tokens).numpy(), expected) < FLOAT32


def test_texts_go_through_the_pooler_and_scores_are_scaled_by_the_exponential() -> None:
    model = tiny_joint(temperature=0.7)
    ids = torch.randint(5, len(WORDS), (2, 9))
    last = model.text.bert(ids).last_hidden_state[:, 0].double().numpy()
    weight, bias = (p.double().numpy() for p in model.text.bert.pooler.dense.parameters())
    pooled = np.tanh(last @ weight.T + bias)
    texts = block_by_hand(pooled, numbers(model.text.block))
    assert worst_difference(model.embed_texts(ids).numpy(), texts) < FLOAT32
    cells = model.embed_cells(tiny_cell(10, TinySizes(version=1))[None])
    scores = model.scores(cells, model.embed_texts(ids)).numpy()
    assert worst_difference(scores, np.exp(0.7) * cells.double().numpy() @ texts.T) < FLOAT32
