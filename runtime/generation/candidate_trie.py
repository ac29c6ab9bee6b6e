"""The token paths of candidates as a trie, and the order in which a decoder runs its nodes.

Two decisions. Each node is run once, however many candidates share it. And nodes need no tree mask:
a batch row of the cache walks a part of the trie depth first, and a node overwrites the cache
positions of those that it does not continue. So a row never holds anything but a path, several rows
walk their parts side by side, and only the prompt is copied.

The last token of a path is not run: its probability is in the logits of the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.engine_protocol import Int32, Int64

ROOT = 0
STEP_TOKENS_MAX = 32  # as for drafts: engines that are built for named shapes take no more


@dataclass(frozen=True, eq=False)
class TrieStep:
    """One run over the next T tokens of each of R rows.

    Args:
        tokens: Text tokens [R,T].
        starts: Depth [R] of the first of them, counted from what all paths follow.
        rows: Row [N] of each probability that is read afterwards.
        places: Which of the row's T tokens comes before it, [N].
        nexts: The text token that it is of, [N].
        nodes: The trie's node that it belongs to, [N].
    """

    tokens: Int32
    starts: Int64
    rows: Int64
    places: Int64
    nexts: Int64
    nodes: Int64


class CandidateTrie:
    """Token paths, at least one; two may be the same, and one may go on where another ends.

    Args:
        opening: Text tokens that all candidates follow; they are run with the prompt.
        paths: Text tokens of each candidate after that, at least one each.

    Attributes:
        first: Tokens of the nodes at depth 0, and their nodes, [N] each: read after the opening.
        runs: Nodes that are run.
        depth: Most tokens that are run one after another.
    """

    def __init__(self, opening: Sequence[int], paths: Sequence[Sequence[int]]) -> None:
        if not len(paths) or not all(map(len, paths)):
            problem = "a trie needs paths of at least one token"
            raise ValueError(problem)
        self.opening = tuple(opening)
        self.paths = tuple(tuple(map(int, path)) for path in paths)
        self._children: list[dict[int, int]] = [{}]
        self._token = [-1]
        self._depth = [-1]
        self._parent = [ROOT]
        self._ends = [self._add(path) for path in self.paths]
        self._order = self._run_order()
        self.runs = len(self._order)
        self.depth = max((self._depth[node] + 1 for node in self._order), default=0)
        children = self._children[ROOT]
        self.first: tuple[Int64, Int64] = _integers(list(children)), _integers(children.values())
        # Node of each token of each path, to add probabilities up; ROOT beyond a path's end.
        longest = max(map(len, self.paths))
        self._along = np.full((len(self.paths), longest), ROOT, dtype=np.int64)
        for number, node in enumerate(self._ends):
            for place in range(self._depth[node], -1, -1):
                self._along[number, place] = node
                node = self._parent[node]

    @property
    def nodes(self) -> int:
        """Nodes, the root included."""
        return len(self._token)

    def path_scores(self, of_nodes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log probability [B,P] of each path, from that of each node after its parent, [B,nodes].

        That of the root is 0.
        """
        scores: NDArray[np.float64] = of_nodes[:, self._along].sum(axis=2)
        return scores

    def steps(self, rows: int) -> list[TrieStep]:
        """The runs that a number of rows needs, in order.

        A step has as many tokens as every row that is not done can run one after another, so that
        none is padded. A row that is done writes over its own first positions.

        Args:
            rows: R, at most `runs`.
        """
        programs = self._programs(rows)
        at = [0] * rows
        steps: list[TrieStep] = []
        while open_rows := [row for row in range(rows) if at[row] < len(programs[row])]:
            length = min(self._chain(programs[row], at[row]) for row in open_rows)
            tokens = np.zeros((rows, length), dtype=np.int32)
            starts = np.zeros(rows, dtype=np.int64)
            reads: list[tuple[int, int, int, int]] = []
            for row in open_rows:
                part = programs[row][at[row] : at[row] + length]
                at[row] += length
                starts[row] = self._depth[part[0][0]]
                for place, (node, is_new) in enumerate(part):
                    tokens[row, place] = self._token[node]
                    if is_new:
                        reads += (
                            (row, place, token, child)
                            for token, child in self._children[node].items()
                        )
            columns = _integers(reads).reshape(-1, 4).T
            steps.append(TrieStep(tokens, starts, *columns))
        return steps

    def _add(self, path: Sequence[int]) -> int:
        node = ROOT
        for token in path:
            following = self._children[node].get(token)
            if following is None:
                following = len(self._token)
                self._children[node][token] = following
                self._children.append({})
                self._token.append(token)
                self._depth.append(self._depth[node] + 1)
                self._parent.append(node)
            node = following
        return node

    def _run_order(self) -> list[int]:
        """The nodes that have children, without the root, depth first."""
        order, open_nodes = [], [ROOT]
        while open_nodes:
            node = open_nodes.pop()
            if node != ROOT:
                order.append(node)
            children = self._children[node].values()
            open_nodes += (child for child in reversed(children) if self._children[child])
        return order

    def _programs(self, rows: int) -> list[list[tuple[int, bool]]]:
        """What each row runs: nodes, and whether they are new; a row begins with a whole path."""
        programs = []
        for row in range(rows):
            first, end = (len(self._order) * number // rows for number in (row, row + 1))
            part = self._order[first:end]
            before: list[int] = []
            node = self._parent[part[0]] if part else ROOT
            while node != ROOT:
                before.append(node)
                node = self._parent[node]
            programs.append([(n, False) for n in reversed(before)] + [(n, True) for n in part])
        return programs

    def _chain(self, program: list[tuple[int, bool]], at: int) -> int:
        """How many nodes from one on follow each other."""
        end = at + 1
        most = min(len(program), at + STEP_TOKENS_MAX)
        while end < most and self._parent[program[end][0]] == program[end - 1][0]:
            end += 1
        return end - at


def _integers(numbers: object) -> Int64:
    return np.array(list(numbers), dtype=np.int64)  # type: ignore[call-overload]
