"""The phrase table: which tokens follow which in captions, as a compact automaton.

A state is a context of at most `depth` tokens that occurs in the captions. The automaton is always
in the state of the longest context that the text ends with. The edges of a state say which tokens
followed, how often, and which state comes next. A failure link leads to the next shorter context
(the construction of Aho and Corasick, 1975, over all n-grams at once).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.checked_read import read_arrays
from c2t.runtime.system.errors import BundleError

PHRASES_NAME = "phrases.npz"
DEPTH = 16
ROOT = 0
Int32 = NDArray[np.int32]

_ARRAYS = ("first_edge", "token", "target", "count", "shorter", "start")
# Some 30 million edges: a million captions that differ in their words only.
PHRASES_BYTES_MAX = 512 << 20


@dataclass(frozen=True, eq=False)
class PhraseTable:
    """The automaton; states are numbered from the root, 0.

    Args:
        first_edge: [states+1] Edges of state s are those from `first_edge[s]` up to
            `first_edge[s+1]`, the most frequent one first.
        token: [edges] Text token of an edge.
        target: [edges] The state that an edge leads to.
        count: [edges] How often the token followed.
        shorter: [states] State of the longest proper suffix of the context; the root's is the root.
        start: State at the beginning of a caption.
    """

    first_edge: Int32
    token: Int32
    target: Int32
    count: Int32
    shorter: Int32
    start: int

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.shorter)

    def save(self, path: Path) -> None:
        """Write `phrases.npz`."""
        np.savez_compressed(
            path,
            first_edge=self.first_edge,
            token=self.token,
            target=self.target,
            count=self.count,
            shorter=self.shorter,
            start=np.array([self.start], dtype=np.int32),
        )


def load_phrase_table(path: Path, vocabulary: int) -> PhraseTable:
    """Read `phrases.npz`.

    Args:
        path: The file.
        vocabulary: Text tokens of the bundle.

    Raises:
        BundleError: Not a phrase table for this vocabulary.
    """
    hint = "export the bundle again, or run with `--no-drafts`"

    def fail(problem: str) -> NoReturn:
        message = f"{path} is not a phrase table: {problem}"
        raise BundleError(message, hint=hint)

    parts = read_arrays(
        path,
        _ARRAYS,
        bytes_max=PHRASES_BYTES_MAX,
        error=BundleError,
        hint=hint,
        what="a phrase table",
    )
    if any(part.ndim != 1 or part.dtype != np.int32 for part in parts.values()):
        fail("an array is not one-dimensional int32")
    start = parts.pop("start")
    if len(start) != 1:
        fail(f"it has {len(start)} starts")
    table = PhraseTable(start=int(start[0]), **parts)
    problem = _problem(table, vocabulary)
    if problem:
        fail(problem)
    return table


def build_phrase_table(
    captions: Sequence[Sequence[int]],
    fragments: Sequence[Sequence[int]] = (),
    *,
    depth: int = DEPTH,
) -> PhraseTable:
    """Build the automaton from token sequences.

    Args:
        captions: Whole captions, from the first token to the end token.
        fragments: Stretches from the middle of captions, such as definitions.
        depth: Tokens of the longest context.
    """
    unique: dict[tuple[int, ...], int] = {}
    begin = -1  # stands in front of a caption; no text token has this number
    for sequence in (*((begin, *caption) for caption in captions), *map(tuple, fragments)):
        unique[sequence] = unique.get(sequence, 0) + 1
    sequences = [sequence for sequence in unique if sequence]
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    token = np.array([t for sequence in sequences for t in sequence], dtype=np.int64)
    weight = np.repeat([unique[sequence] for sequence in sequences], lengths).astype(np.int64)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(token))  # to the sequence's end

    # state[i]: the state of the `level` tokens from i on, where the sequence has so many left.
    state = np.zeros(len(token), dtype=np.int64)
    sources, tokens, targets, counts = [], [], [], []
    shorter = [np.zeros(1, dtype=np.int64)]
    states, start = 1, ROOT
    for level in range(1, depth + 2):
        at = np.flatnonzero(left >= level)
        if not len(at):
            break
        key = state[at] * (1 << 32) + (token[at + level - 1] + 1)
        _, example, number = np.unique(key, return_index=True, return_inverse=True)
        total = np.bincount(number, weights=weight[at]).astype(np.int64)
        sources.append(state[at[example]])
        tokens.append(token[at[example] + level - 1])
        counts.append(total)
        if level == depth + 1:  # the context is as long as it may be: its oldest token is dropped
            targets.append(state[at[example] + 1])
            break
        # One level up, the same tokens without the first are the next shorter context.
        shorter.append(state[at[example] + 1] if level > 1 else np.zeros(len(example), np.int64))
        targets.append(states + np.arange(len(example)))
        grown = np.full(len(token), -1, dtype=np.int64)
        grown[at] = states + number
        if level == 1:
            first = np.flatnonzero(tokens[0] == begin)
            start = int(targets[0][first[0]]) if len(first) else ROOT
        state = grown
        states += len(example)
    return _pack(sources, tokens, targets, counts, shorter, states, start)


def _pack(
    sources: list[NDArray[Any]],
    tokens: list[NDArray[Any]],
    targets: list[NDArray[Any]],
    counts: list[NDArray[Any]],
    shorter: list[NDArray[Any]],
    states: int,
    start: int,
) -> PhraseTable:
    empty = [np.empty(0, dtype=np.int64)]
    source, token, target, count = (
        np.concatenate(parts or empty) for parts in (sources, tokens, targets, counts)
    )
    real = token >= 0  # nothing leads to the beginning of a caption
    source, token, target, count = source[real], token[real], target[real], count[real]
    order = np.lexsort((token, -count, source))
    first_edge = np.searchsorted(source[order], np.arange(states + 1))
    return PhraseTable(
        first_edge=first_edge.astype(np.int32),
        token=token[order].astype(np.int32),
        target=target[order].astype(np.int32),
        count=np.minimum(count[order], np.iinfo(np.int32).max).astype(np.int32),
        shorter=np.concatenate(shorter).astype(np.int32),
        start=start,
    )


def _problem(table: PhraseTable, vocabulary: int) -> str:
    """What makes a table unusable; a walk over it must end, and stay inside its arrays."""
    states, edges = table.states, len(table.token)
    if states == 0:
        return "it has no states"
    if len(table.first_edge) != states + 1 or not len(table.target) == len(table.count) == edges:
        return "the lengths of its arrays do not fit"
    if table.first_edge[0] != 0 or table.first_edge[-1] != edges:
        return "its edges do not add up"
    # Not by their differences, which may overflow.
    if (table.first_edge[1:] < table.first_edge[:-1]).any():
        return "its edges are out of order"
    # A shorter context has a smaller number: following the links always ends at the root.
    if table.shorter[0] != ROOT or (table.shorter[1:] >= np.arange(1, states)).any():
        return "a link does not lead to a shorter context"
    for name, array, limit in (
        ("token", table.token, vocabulary),
        ("state", table.target, states),
        ("state", table.shorter, states),
        ("state", np.array([table.start]), states),
    ):
        if len(array) and (array.min() < 0 or array.max() >= limit):
            return f"it names a {name} that does not exist"
    if edges and table.count.min() < 1:
        return "a count is not positive"
    return ""
