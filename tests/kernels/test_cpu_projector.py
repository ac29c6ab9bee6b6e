"""The projector behind the native encoder, against its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from encoders import random_encoder, random_projector

from c2t.kernels.encoder.cpu import (
    CpuEncoder,
    PackedEncoder,
    encoder_kernels,
    projector_problem,
)
from c2t.kernels.encoder.definition import projector_reference
from c2t.kernels.encoder.weights import HostEncoder, HostProjector

KERNELS = encoder_kernels()
pytestmark = pytest.mark.skipif(KERNELS is None, reason="no encoder of ours runs on this processor")
HIDDEN = 64
SIZES = {"usual": (128, 64), "odd": (37, 30), "wide": (700, 320), "narrow": (64, 5)}


def encoder(rows: int | None = 40) -> HostEncoder:
    return random_encoder(layers=2, hidden_size=HIDDEN, intermediate_size=160, heads=4, rows=rows)


def opened(of: HostEncoder, projector: HostProjector, threads: int = 2) -> CpuEncoder:
    return CpuEncoder(PackedEncoder(KERNELS, of, projector), threads=threads)


def drawn(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, HIDDEN)).astype(np.float32)


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 19), (2, 90)])
def test_agrees_with_the_definition(
    size: tuple[int, int], shape: tuple[int, int], int8: bool
) -> None:
    projector = random_projector(HIDDEN, *size, int8=int8)
    hidden, vectors, seconds = opened(encoder(), projector).run(drawn(*shape))
    expected = projector_reference(projector, hidden)
    assert vectors is not None
    assert vectors.shape == expected.shape
    rows = np.linalg.norm(vectors - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    # In int8 a float that is rounded otherwise moves an activation by a whole step.
    assert np.median(rows) < 1e-5
    assert rows.max() < (0.02 if int8 else 1e-4)
    assert seconds > 0


@pytest.mark.parametrize("rows", [None, 50])
def test_a_cell_s_vectors_depend_on_nothing_else(rows: int | None) -> None:
    """To the bit: neither other cells, nor threads; and hidden states are those without it."""
    of, projector, embeddings = encoder(rows), random_projector(HIDDEN, 96, 40), drawn(12, 150)
    alone = opened(of, projector, 1)
    expected = [alone.run(cell[None]) for cell in embeddings]
    plain = CpuEncoder(PackedEncoder(KERNELS, of), threads=2).run(embeddings)
    assert plain.vectors is None
    for threads in (1, 2, 5):
        found = opened(of, projector, threads).run(embeddings)
        np.testing.assert_array_equal(found.vectors, np.concatenate([e.vectors for e in expected]))
        np.testing.assert_array_equal(found.hidden, plain.hidden)


def test_a_part_of_the_layers_has_no_projector() -> None:
    of, embeddings = encoder(), drawn(2, 30)
    packed = PackedEncoder(KERNELS, of, random_projector(HIDDEN, 96, 40))
    found = CpuEncoder(packed.part(0, 2)).run(embeddings)
    assert found.vectors is None
    np.testing.assert_array_equal(found.hidden, CpuEncoder(packed).run(embeddings).hidden)


def test_what_is_not_finite_stays_visible_and_costs_no_other_cell() -> None:
    kernel, embeddings = opened(encoder(), random_projector(HIDDEN, 96, 40)), drawn(3, 60)
    expected = kernel.run(embeddings)
    embeddings[1, 55, 3] = np.nan  # a row that does not leave the last layer
    found = kernel.run(embeddings)
    assert np.isnan(found.vectors[1]).all()
    np.testing.assert_array_equal(found.vectors[[0, 2]], expected.vectors[[0, 2]])


def test_numbers_that_overflow_in_the_projector_cost_no_other_cell() -> None:
    """Its weights are at fault, for a norm bounds what it reads."""
    projector = random_projector(HIDDEN, 96, 40, int8=False)
    huge = replace(projector.up, bias=projector.up.bias + np.float32(3e38))
    kernel = opened(encoder(), replace(projector, up=huge))
    found = kernel.run(drawn(2, 20))
    assert np.isnan(found.vectors).all()
    assert np.isnan(found.hidden).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["mlp_norm", "up_norm", "down_norm"])
def test_a_norm_that_gives_what_is_not_finite_is_seen_behind_linears(
    which: str, bad: float
) -> None:
    """In int8 what a linear reads would look like a number."""
    of, projector = encoder(), random_projector(HIDDEN, 96, 40)
    *first, last = of.layers
    norm = last.mlp_norm if which == "mlp_norm" else getattr(projector, which)
    weight = norm.weight.copy()
    weight[3] = bad
    norm = replace(norm, weight=weight)
    if which == "mlp_norm":
        of = replace(of, layers=[*first, replace(last, mlp_norm=norm)])
    else:
        projector = replace(projector, **{which: norm})
    found = opened(of, projector).run(drawn(2, 20))
    assert np.isnan(found.vectors).all()
    assert np.isnan(found.hidden).all()


def test_no_cells_are_no_error() -> None:
    found = opened(encoder(), random_projector(HIDDEN, 96, 40)).run(drawn(0, 5))
    assert found.vectors.shape == (0, 5, 40)


def test_a_projector_that_does_not_fit_is_named() -> None:
    projector = random_projector(HIDDEN, 96, 40)
    assert projector_problem(projector, HIDDEN) == ""
    assert projector_problem(projector, 72) == "a projector of 64 inputs behind 72 columns"
    wide = random_projector(HIDDEN, 65_600, 2, int8=False)
    assert projector_problem(wide, HIDDEN) == "a linear of 65600 inputs"
