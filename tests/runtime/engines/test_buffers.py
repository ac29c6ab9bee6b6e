"""Buffers grow and say so; steps are kept, the least recently used one goes first."""

from __future__ import annotations

import numpy as np

from c2t.runtime.engines.buffers import BoundSteps, HostBuffer


class Step:
    def __init__(self) -> None:
        self.current, self.closed = True, False

    def is_current(self) -> bool:
        return self.current

    def close(self) -> None:
        self.closed = True


def test_a_buffer_moves_only_when_it_grows() -> None:
    buffer = HostBuffer()
    large = buffer.view((2, 3))
    moves = buffer.moves
    small = buffer.view((4,), np.int32)
    assert np.shares_memory(large, small)
    assert buffer.moves == moves
    assert not np.shares_memory(large, buffer.view((7,)))
    assert buffer.moves > moves


def test_the_least_recently_used_step_is_closed() -> None:
    steps = BoundSteps(most=2)
    first, second = steps.get((0, 1, 1, 1), Step), steps.get((0, 2, 1, 1), Step)
    steps.get((0, 1, 1, 1), Step)
    steps.get((0, 3, 1, 1), Step)
    assert (first.closed, second.closed) == (False, True)


def test_a_step_whose_buffers_moved_is_closed_and_bound_again() -> None:
    steps = BoundSteps()
    step = steps.get((0, 1, 1, 1), Step)
    step.current = False
    assert steps.get((0, 1, 1, 1), Step).current
    assert step.closed
