"""Principal components, and places of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.summary import plane
from c2t.runtime.summary.plane import number_places, principal_plane


def components(vectors: np.ndarray) -> np.ndarray:
    return principal_plane(lambda start, stop: vectors[start:stop], len(vectors))


def test_places_are_the_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "_BLOCK", 64)
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(500, 12)) * np.linspace(3, 1, 12) + 1000
    vectors[7, 3] = np.nan
    places = components(vectors)
    assert np.isnan(places[7]).all()
    rest = np.delete(np.arange(500), 7)
    centred = vectors[rest] - vectors[rest].mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    for axis in range(2):
        sign = np.sign((expected[:, axis] * places[rest, axis]).sum())
        np.testing.assert_allclose(places[rest, axis], sign * expected[:, axis], atol=1e-8)


def test_a_sample_of_many_cells_gives_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(1000, 6)) * np.array([9, 4, 1, 1, 1, 1])
    every = components(vectors)
    monkeypatch.setattr(plane, "_SAMPLE", 100)
    monkeypatch.setattr(plane, "_BLOCK", 37)
    few = components(vectors)
    for axis in range(2):
        assert abs(np.corrcoef(every[:, axis], few[:, axis])[0, 1]) > 0.99


def test_vectors_of_one_number_and_none_at_all() -> None:
    places = components(np.array([[1.0], [2.0], [np.nan]]))
    assert places[:2, 1].tolist() == [0, 0]
    assert np.isnan(places[2]).all()
    assert components(np.zeros((0, 3))).shape == (0, 2)
    assert np.isnan(components(np.full((4, 3), np.nan))).all()


def test_a_number_lies_on_a_cell_of_its_group() -> None:
    places = np.array([[0.0, 0], [0, 1], [10, 0], [10, 1], [10, 2], [np.nan, 1]])
    places = np.tile(places, (3, 1))  # those of fewer cells have it beside them
    at = number_places(places, np.tile([0, 0, 1, 1, 1, 2], 3), least=0.1)
    assert at[0].tolist() in places[:2].tolist()
    assert at[1].tolist() == [10, 1]
    assert np.isnan(at[2]).all()


def test_numbers_do_not_touch() -> None:
    places = np.zeros((6, 2))
    at = number_places(places, np.arange(6), least=1.0)
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.7
    assert number_places(places, np.full(6, -1), least=1.0).shape == (0, 2)


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_no_number_lies_on_the_only_cells_of_a_type(cells: int) -> None:
    generator = np.random.default_rng(cells)
    crowd = generator.normal(size=(300, 2))
    small = np.concatenate([generator.normal(0, 0.03, (cells, 2)), [(3.0, 3.0)]])
    places = np.concatenate([crowd, small])
    codes = np.array([0] * 300 + [1] * cells + [2])
    at = number_places(places, codes, least=0.4)
    apart = np.linalg.norm(at[:, None] - small[None], axis=2)
    assert (apart > 0.29).all()
    own = [apart[1, :cells].min(), apart[2, cells]]
    assert max(own) < 0.8  # beside, and not elsewhere
    assert (at[2] <= 3.0).all()  # inside the picture


def test_numbers_of_larger_types_lie_on_their_cells() -> None:
    places = np.random.default_rng(0).normal(size=(40, 2))
    at = number_places(places, np.zeros(40, np.int64), least=0.1)
    assert (places == at[0]).all(axis=1).any()
