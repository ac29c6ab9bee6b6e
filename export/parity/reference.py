"""Cells with what the author's own code wrote for them: c2t's reading of a checkpoint must agree.

Without them the graphs are compared with a PyTorch model that c2t has put together itself. Both
then share what was misread, a wrong alpha for instance.

The file is JSON:

    {"cells": [{"gene_tokens": [2, 17, 5, 3], "token_ids": [40, 7, 128009], "text": "..."}]}

`gene_tokens` are what the encoder got, special tokens included and padding left out. `token_ids`
are what `generate` returned, without the prompt; `text` is what was decoded from it, without
special tokens. One of the two is enough. They must be of a batch of one and of the settings that
the export gets, without sampling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2t.export.encoders.families import encoder_family
from c2t.export.model.loaded_checkpoint import CheckpointOutline
from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import CheckpointError, ParityError

REFERENCE_BYTES_MAX = 64 << 20
CELLS_MAX = 64  # each is written by PyTorch and by the bundle
SHOWN = 200  # characters of a text that an error shows


@dataclass(frozen=True, kw_only=True)
class ReferenceCell:
    """One cell of the file; `token_ids` or `text` or both are given."""

    gene_tokens: tuple[int, ...]
    token_ids: tuple[int, ...] | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class _ReferenceFile:
    cells: tuple[ReferenceCell, ...]


def read_reference(path: Path, outline: CheckpointOutline) -> tuple[ReferenceCell, ...]:
    """Read reference cells, and check that they can be of this checkpoint.

    Raises:
        CheckpointError: The file is missing or of another form; a token is outside its vocabulary;
            a cell is empty, too long, or without token ids and text.
    """
    hint = 'write {"cells": [{"gene_tokens": [...], "token_ids": [...], "text": "..."}]}'
    cells = read_json(
        path,
        _ReferenceFile,
        bytes_max=REFERENCE_BYTES_MAX,
        error=CheckpointError,
        hint=hint,
    ).cells
    spec = encoder_family(outline.encoder.model_type).gene_input(outline.encoder, outline.genes)
    if not 0 < len(cells) <= CELLS_MAX:
        problem = f"{path} has {len(cells)} cells"
        raise CheckpointError(problem, hint=f"give 1 to {CELLS_MAX}; a few are enough")
    words = int(outline.decoder.vocab_size)
    for number, cell in enumerate(cells):
        genes, ids = cell.gene_tokens, cell.token_ids
        if not 0 < len(genes) <= spec.input_size:
            wrong = f"has {len(genes)} gene tokens; the encoder takes 1 to {spec.input_size}"
        elif not (min(genes) >= 0 and max(genes) < spec.vocabulary_size):
            wrong = f"has gene tokens outside the vocabulary of {spec.vocabulary_size}"
        elif ids is None and cell.text is None:
            wrong = "has neither token_ids nor text"
        elif ids is not None and not all(0 <= token < words for token in ids):
            wrong = f"has text tokens outside the vocabulary of {words}"
        else:
            continue
        problem = f"cell {number} of {path} {wrong}"
        raise CheckpointError(problem, hint=hint)
    return cells


def compare_with_reference(
    number: int,
    cell: ReferenceCell,
    token_ids: Sequence[int],
    text: str,
    *,
    writer: str,
    end_tokens: Collection[int],
) -> None:
    """Compare what was written for a cell with the reference.

    Args:
        number: Of the cell in its file.
        cell: The reference.
        token_ids: What was written instead, up to its end token.
        text: The same as text.
        writer: Who wrote it.
        end_tokens: At the first of them a text ends; whether it is listed does not count.

    Raises:
        ParityError: They differ; shows the first difference.
    """
    hint = (
        "check adapter, alpha, system message, template, heads and generation settings against "
        "the training run"
    )
    if cell.token_ids is not None:
        expected = _until_end(cell.token_ids, end_tokens)
        written = _until_end(token_ids, end_tokens)
        if expected != written:
            first = _first_difference(expected, written)
            there, here = _at(expected, first), _at(written, first)
            problem = (
                f"reference cell {number}: text token {first} is {there} in the reference, and "
                f"{here} by {writer}\n- reference: {_short(cell.text)}\n- {writer}: {_short(text)}"
            )
            raise ParityError(problem, hint=hint)
    if cell.text is not None and cell.text.strip() != text.strip():
        first = _first_difference(cell.text.strip(), text.strip())
        problem = (
            f"reference cell {number}: the text differs from character {first} on by {writer}\n"
            f"- reference: {_short(cell.text)}\n- {writer}: {_short(text)}"
        )
        raise ParityError(problem, hint=hint)


def _first_difference(expected: Sequence[object], written: Sequence[object]) -> int:
    pairs = enumerate(zip(expected, written, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(expected), len(written)))


def _until_end(token_ids: Sequence[int], end_tokens: Collection[int]) -> list[int]:
    ends = [place for place, token in enumerate(token_ids) if token in end_tokens]
    return list(token_ids[: ends[0]] if ends else token_ids)


def _at(token_ids: Sequence[int], place: int) -> str:
    return str(token_ids[place]) if place < len(token_ids) else "the end"


def _short(text: str | None) -> str:
    if text is None:
        return "(no text given)"
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
