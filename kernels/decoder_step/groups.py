"""A step of any number of rows as several of the kernel's, which takes only so many.

Two decisions. A group is some whole cells; or, where one cell has more tokens than fit, a part of
its tokens. The parts of a cell run in their order: a token finds the keys and values of those
before it in the cache, whichever group wrote them. A row's numbers depend neither on the rows
beside it nor on the group, so they are those of a step of that row alone.

Each group reads all weights once.
"""

from __future__ import annotations

from dataclasses import replace

from c2t.kernels.decoder_step.launch import StepArguments
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.errors import KernelError

HALF, FLOAT, INT64 = 2, 4, 8  # bytes


def divides_texts(rows: int, *, tokens: int, logits_per_cell: int) -> bool:
    """Whether a cell's tokens are divided. Then the last tokens of each cell must want logits."""
    return max(tokens, logits_per_cell) > rows


def divide_step(
    sizes: StepSizes, step: StepArguments, *, rows: int, places: int
) -> tuple[StepArguments, ...]:
    """The groups of a step, to be started in this order on one stream.

    Args:
        sizes: Of the decoder.
        step: The step. Where a cell's tokens are divided, `logit_rows` is not read: the last
            `logits_per_cell` tokens of each cell want logits.
        rows: The most rows of a group.
        places: Address of [rows] int64 on the device: 0, 1, 2, ...

    Raises:
        KernelError: A cell wants more logits than it has tokens, and than a group has rows.
    """
    tokens, wanted = step.tokens, step.logits_per_cell
    if not divides_texts(rows, tokens=tokens, logits_per_cell=wanted):
        most = rows // max(tokens, wanted)
        return tuple(
            _cells(sizes, step, first, min(first + most, step.batch))
            for first in range(0, step.batch, most)
        )
    if wanted > tokens:
        problem = f"a step of {tokens} tokens of a cell, {wanted} of which want logits"
        raise KernelError(problem, hint="ask for the logits of each token once")
    return tuple(
        _tokens(_cells(sizes, step, cell, cell + 1), sizes, first, rows=rows, places=places)
        for cell in range(step.batch)
        for first in range(0, tokens, rows)
    )


def _cells(sizes: StepSizes, step: StepArguments, first: int, end: int) -> StepArguments:
    """The cells [first, end) of a step."""
    row = first * step.tokens
    logit = first * step.logits_per_cell
    return replace(
        step,
        embeds=step.embeds + row * sizes.hidden_size * HALF,
        positions=step.positions + row * INT64,
        write_index=step.write_index + first * INT64,
        logit_rows=step.logit_rows + logit * INT64,
        cache=step.cache + first * sizes.kv_heads * step.capacity * sizes.head_size * HALF,
        logits=step.logits + logit * sizes.vocabulary_size * FLOAT,
        batch=end - first,
    )


def _tokens(
    cell: StepArguments, sizes: StepSizes, first: int, *, rows: int, places: int
) -> StepArguments:
    """At most `rows` tokens of a cell from `first` on.

    The kernel computes at least one row of logits. That of a part where nobody wants any goes where
    a later part writes the first that is wanted.
    """
    end = min(first + rows, cell.tokens)
    first_wanted = cell.tokens - cell.logits_per_cell
    begin = max(first, first_wanted)  # of those wanted, if it is before the end
    logit = begin - first_wanted if begin < end else 0
    return replace(
        cell,
        embeds=cell.embeds + first * sizes.hidden_size * HALF,
        positions=cell.positions + first * INT64,
        logit_rows=places + (begin - first) * INT64 if begin < end else places,
        logits=cell.logits + logit * sizes.vocabulary_size * FLOAT,
        tokens=end - first,
        logits_per_cell=max(1, end - begin),
        first_token=first,
    )
