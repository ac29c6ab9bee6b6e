"""Clusters of embeddings: found, repeatable, and without those that have none."""

from __future__ import annotations

import builtins
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from c2t.runtime.groups import components as components_module
from c2t.runtime.groups.components import principal_components
from c2t.runtime.groups.labels import GroupLabels
from c2t.runtime.groups.leiden import (
    check_leiden,
    leiden_groups,
    leiden_settings,
    leiden_warnings,
)
from c2t.runtime.system.errors import C2TError


def blobs(sizes: tuple[int, ...], width: int = 8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((len(sizes), width)) * 20
    parts = [c + generator.standard_normal((n, width)) for c, n in zip(centres, sizes, strict=True)]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("width", [3, 80])
def test_components_keep_distances_up_to_what_they_leave_out(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components_module, "BLOCK", 7)
    cells = np.random.default_rng(1).standard_normal((60, width)).astype(np.float32) + 1000
    found = principal_components(lambda: list(cells), 60)
    centred = cells.astype(np.float64) - cells.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[: min(width, 50)].T
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    here = np.linalg.norm(found[:, None] - found[None], axis=2)
    there = np.linalg.norm(expected[:, None] - expected[None], axis=2)
    np.testing.assert_allclose(here, there, atol=1e-3)


def test_cells_without_an_embedding_have_no_components() -> None:
    cells: list[Any] = list(blobs((5, 5)))
    cells[2], cells[7] = None, np.full(8, np.nan, np.float32)
    found = principal_components(lambda: cells, 10)
    assert np.isnan(found).all(axis=1).tolist() == [n in (2, 7) for n in range(10)]
    assert principal_components(lambda: [None, None], 2).shape == (2, 0)


def test_blobs_are_found_the_largest_first() -> None:
    pytest.importorskip("igraph")
    cells = blobs((30, 90, 60))
    labels = leiden_groups(lambda: list(cells), 180, resolution=0.2)
    assert list(labels.names) == ["0", "1", "2"]
    found = [set(labels.codes[a:b].tolist()) for a, b in ((0, 30), (30, 120), (120, 180))]
    assert found == [{2}, {0}, {1}]


def test_clusters_of_few_cells_are_warned_about() -> None:
    def labels(cells: int, groups: int) -> GroupLabels:
        codes = np.arange(cells, dtype=np.int32) % groups
        codes[-2:] = -1  # in none
        return GroupLabels([str(n) for n in range(groups)], codes)

    (warning,) = leiden_warnings(labels(42, 19))
    assert warning.startswith("leiden has 19 groups for 40 cells: a consensus of so few cells")
    assert "lower resolution" in warning
    assert leiden_warnings(labels(97, 19)) == [] != leiden_warnings(labels(96, 19))
    assert leiden_warnings(labels(4, 1)) == []


def test_a_higher_resolution_gives_more() -> None:
    pytest.importorskip("igraph")
    cells = blobs((120, 120))
    counts = [
        len(leiden_groups(lambda: list(cells), 240, resolution=r).names) for r in (0.2, 1, 5, 20)
    ]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_again_the_same_whatever_was_drawn_before() -> None:
    pytest.importorskip("igraph")
    cells = np.random.default_rng(2).standard_normal((300, 6)).astype(np.float32)
    first = leiden_groups(lambda: list(cells), 300, resolution=1.0)
    random.seed(12345)
    before = random.getstate()
    second = leiden_groups(lambda: list(cells), 300, resolution=1.0)
    np.testing.assert_array_equal(first.codes, second.codes)
    assert random.getstate() == before


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_few_cells(count: int) -> None:
    pytest.importorskip("igraph")
    cells = blobs((max(count, 1),))[:count]
    labels = leiden_groups(lambda: [*cells, None], count + 1, resolution=1.0)
    assert labels.codes[-1] == -1
    assert (labels.codes[:-1] >= 0).all()
    assert len(labels.names) == len(set(labels.codes[:-1].tolist()))


def test_equal_cells_have_groups_too() -> None:
    pytest.importorskip("igraph")
    labels = leiden_groups(lambda: [np.ones(4, np.float32)] * 40, 40, resolution=1.0)
    assert sorted(set(labels.codes.tolist())) == list(range(len(labels.names)))


def test_embeddings_are_read_in_two_passes() -> None:
    passes = 0

    def read() -> Iterator[np.ndarray]:
        nonlocal passes
        passes += 1
        yield from blobs((20,))

    principal_components(read, 20)
    assert passes == 2


def test_the_settings_say_what_made_them() -> None:
    pytest.importorskip("igraph")
    settings = leiden_settings(1.5)
    assert settings["resolution"] == 1.5
    assert {"seed", "neighbours", "igraph", "scikit_learn"} <= settings.keys()


def test_without_the_libraries_the_hint_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in ("igraph", "sklearn"):
            problem = f"No module named {name!r}"
            raise ModuleNotFoundError(problem)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(C2TError, match="clusters need igraph and scikit-learn") as caught:
        check_leiden()
    assert "c2t[groups]" in caught.value.hint
