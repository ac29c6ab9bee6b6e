import numpy as np
import pytest
import torch
from scipy.special import erf
from tiny_models import TinySizes, tiny_model, tiny_projector_config

from c2t.export.model.projector import ProjectorConfig, ProjectorFacts
from c2t.export.projectors.families import build_projector, projector_config_from_shapes
from c2t.export.projectors.perceiver import sinusoidal_table
from c2t.runtime.system.errors import CheckpointError

MLP = tiny_projector_config(TinySizes())
DROPOUT = tiny_projector_config(TinySizes(projector_dropout=0.1))
PERCEIVER = tiny_projector_config(TinySizes(projector="perceiver"))


def shapes(config):
    return {k: tuple(v.shape) for k, v in build_projector(config).state_dict().items()}


@pytest.mark.parametrize("config", [MLP, DROPOUT, PERCEIVER], ids=["mlp", "dropout", "perceiver"])
def test_sizes_are_read_from_the_weights(config):
    assert (
        projector_config_from_shapes(shapes(config), ProjectorFacts(heads=config.heads)) == config
    )


def test_published_names():
    ends = ("weight", "bias")
    assert set(shapes(MLP)) == {f"projection.{n}.{end}" for n in (0, 1, 3, 4) for end in ends}
    assert set(shapes(DROPOUT)) == {f"projection.{n}.{end}" for n in (0, 1, 4, 5) for end in ends}
    attention = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    rest = [f"{m}.{e}" for m in ("feedforward.0", "feedforward.3", "norm1", "norm2") for e in ends]
    expected = {"latents", "position_encoding.pe"}
    expected |= {f"{module}.{end}" for module in ("input_projection", "final_norm") for end in ends}
    for blocks, name, count in (("cross", "cross_attn", 1), ("self", "self_attn", 2)):
        for number in range(count):
            inner = [*rest, *(f"{name}.{part}" for part in attention)]
            expected |= {f"{blocks}_attention_layers.{number}.{part}" for part in inner}
    assert set(shapes(PERCEIVER)) == expected


BARE = ProjectorConfig(
    kind="perceiver", input_width=8, output_width=16, num_latents=3, feed_forward=32, heads=4
)


@pytest.mark.parametrize(
    ("heads", "positions", "options"),
    [
        (None, True, ["--perceiver-heads"]),
        (2, None, ["--perceiver-positions", "--no-perceiver-positions"]),
        (None, None, ["--perceiver-heads", "--perceiver-positions"]),
    ],
)
def test_what_the_weights_of_a_perceiver_do_not_show_is_asked_for(heads, positions, options):
    facts = ProjectorFacts(heads=heads, positions=positions)
    with pytest.raises(CheckpointError, match="do not show") as caught:
        projector_config_from_shapes(shapes(BARE), facts)
    assert all(option in caught.value.hint for option in options)


def test_positions_that_a_save_of_parameters_left_out_are_added():
    facts = ProjectorFacts(heads=4, positions=False)
    assert projector_config_from_shapes(shapes(BARE), facts) == BARE
    facts = ProjectorFacts(heads=4, positions=True)
    assert projector_config_from_shapes(shapes(BARE), facts).positions == 10000
    stored = shapes(BARE) | {"position_encoding.pe": (1, 64, 16)}
    assert projector_config_from_shapes(stored, facts).positions == 64
    facts = ProjectorFacts(heads=4, positions=False)
    with pytest.raises(CheckpointError, match="hold a table of positions"):
        projector_config_from_shapes(stored, facts)


def test_mlp_without_biases():
    config = ProjectorConfig(kind="mlp", input_width=8, hidden=4, output_width=6, bias=False)
    assert projector_config_from_shapes(shapes(config)) == config


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ({"a.weight": (2, 3)}, "fit neither"),
        ({"projection.0.weight": (2, 3)}, "lacks its second Linear"),
        ({"latents": (2, 3)}, "lacks: input_projection.weight"),
    ],
)
def test_strangers_are_errors(names, match):
    with pytest.raises(CheckpointError, match=match):
        projector_config_from_shapes(names)


def test_unknown_kind():
    with pytest.raises(CheckpointError, match="'abstractor'"):
        build_projector(ProjectorConfig(kind="abstractor", input_width=1, output_width=1))


def test_sinusoidal_table():
    table = sinusoidal_table(7, 6)
    for row in range(7):
        for pair in range(3):
            angle = row / 10000 ** (2 * pair / 6)
            assert table[row, 2 * pair] == pytest.approx(np.sin(angle), abs=1e-6)
            assert table[row, 2 * pair + 1] == pytest.approx(np.cos(angle), abs=1e-6)


# The same written out in NumPy, float64: the definition that needs no torch.


def norm(x, weights, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def attend(queries, rows, weights, name, heads):
    packed, bias = weights[f"{name}.in_proj_weight"], weights[f"{name}.in_proj_bias"]
    width = queries.shape[-1]
    parts = [
        (x @ packed[i * width : (i + 1) * width].T + bias[i * width : (i + 1) * width])
        .reshape(len(x), heads, -1)
        .transpose(1, 0, 2)
        for i, x in enumerate((queries, rows, rows))
    ]
    scores = parts[0] @ parts[1].transpose(0, 2, 1) / np.sqrt(width // heads)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (scores / scores.sum(-1, keepdims=True)) @ parts[2]
    return linear(
        mixed.transpose(1, 0, 2).reshape(len(queries), width), weights, f"{name}.out_proj"
    )


def perceiver(hidden, weights, config):
    rows = linear(hidden, weights, "input_projection")
    rows = rows + weights["position_encoding.pe"][0, : len(rows)]
    x = weights["latents"]
    blocks = [("cross_attention_layers.0", "cross_attn", rows)]
    blocks += [(f"self_attention_layers.{i}", "self_attn", None) for i in range(config.self_layers)]
    for block, attention, seen in blocks:
        normed = norm(x, weights, f"{block}.norm1")
        keys = normed if seen is None else seen
        x = x + attend(normed, keys, weights, f"{block}.{attention}", config.heads)
        inner = linear(norm(x, weights, f"{block}.norm2"), weights, f"{block}.feedforward.0")
        x = x + linear(gelu(inner), weights, f"{block}.feedforward.3")
    return norm(x, weights, "final_norm")


def mlp(hidden, weights, second):
    x = gelu(norm(linear(hidden, weights, "projection.0"), weights, "projection.1"))
    return norm(linear(x, weights, f"projection.{second}"), weights, f"projection.{second + 1}")


@pytest.mark.parametrize("kind", ["mlp", "dropout", "perceiver"])
def test_projection_equals_the_formula(kind):
    sizes = TinySizes(
        projector="perceiver" if kind == "perceiver" else "mlp",
        projector_dropout=0.1 if kind == "dropout" else 0.0,
    )
    projector = tiny_model(sizes).projector
    weights = {k: v.double().numpy() for k, v in projector.state_dict().items()}
    hidden = torch.randn(11, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        computed = projector(hidden[None])[0].numpy()
    if kind == "perceiver":
        expected = perceiver(hidden.double().numpy(), weights, projector.config)
        assert computed.shape == (6, 24)
    else:
        expected = mlp(hidden.double().numpy(), weights, 4 if kind == "dropout" else 3)
        assert computed.shape == (11, 24)
    np.testing.assert_allclose(computed, expected, atol=2e-5)
