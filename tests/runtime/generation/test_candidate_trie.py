"""A trie of candidates runs each node once, and every row holds the path of what it runs."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.generation.candidate_trie import CandidateTrie

PATHS = ((1, 2, 3), (1, 2, 4, 5), (1, 2, 3, 6), (7, 3), (8,), (1, 2, 3), (7, 9, 9, 9, 9, 1))


def random_paths(seed: int) -> list[tuple[int, ...]]:
    draw = np.random.default_rng(seed)
    return [tuple(draw.integers(0, 3, draw.integers(1, 7)).tolist()) for _ in range(25)]


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("paths", [PATHS, *map(random_paths, range(5))])
def test_steps_read_every_node_after_its_own_path(paths: list[tuple[int, ...]], rows: int) -> None:
    """A stand-in for the decoder: the score of a token is a number made of all tokens before."""
    trie = CandidateTrie((), paths)
    rows = min(rows, trie.runs)
    held = np.full((rows, trie.depth), -1)
    of_nodes = np.zeros((1, trie.nodes))
    tokens, nodes = trie.first
    of_nodes[0, nodes] = [value((), token) for token in tokens]
    read = list(nodes)
    for step in trie.steps(rows):
        length = step.tokens.shape[1]
        for row, start in enumerate(step.starts):
            held[row, start : start + length] = step.tokens[row]
        for row, place, token, node in zip(
            step.rows, step.places, step.nexts, step.nodes, strict=True
        ):
            before = held[row, : step.starts[row] + place + 1]
            of_nodes[0, node] = value(before, token)
            read.append(node)
    assert sorted(read) == list(range(1, trie.nodes))  # each once, the root never
    expected = [
        sum(value(path[:place], token) for place, token in enumerate(path)) for path in paths
    ]
    np.testing.assert_allclose(trie.path_scores(of_nodes)[0], expected, rtol=1e-12)


def value(before: object, token: int) -> float:
    return float(hash((tuple(int(t) for t in before), int(token))) % 1000)  # type: ignore[attr-defined]


def test_one_row_runs_nothing_twice() -> None:
    trie = CandidateTrie((), PATHS)
    runs = sum(step.tokens.size for step in trie.steps(1))
    assert runs == trie.runs == 9  # 1, 12, 123, 124 | 7, 79, 799, 7999, 79999


def test_long_paths_run_in_several_steps() -> None:
    """Plans of TensorRT take no more tokens at once than they were built for."""
    trie = CandidateTrie((), [tuple(range(100))])
    lengths = [step.tokens.shape[1] for step in trie.steps(1)]
    assert lengths == [32, 32, 32, 3]


def test_paths_of_one_token_need_no_run() -> None:
    trie = CandidateTrie((5,), [(1,), (2,)])
    assert (trie.runs, trie.depth) == (0, 0)
    with pytest.raises(ValueError, match="at least one token"):
        CandidateTrie((5,), [(1,), ()])
