"""What a source of cells may be opened with, beside its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from c2t.runtime.system.errors import CellFileError

PARTS_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a source is opened.

    Args:
        part: The part that is wanted of a source that holds several data sets: a modality, a
            genome, one of several matrices. None: the only one, or the usual one.
        genes_known: Says how many of some names are genes of the bundle. Text tables are turned by
            it. None: nothing is known of genes.
    """

    part: str | None = None
    genes_known: Callable[[Sequence[str]], int] | None = None


PLAIN = Opening()


def choose_part(parts: Sequence[str], opening: Opening, said: str, *, usual: str = "") -> str:
    """The part of a source that is wanted.

    Args:
        parts: Those that there are.
        opening: Says which one is wanted.
        said: The source with its kind of parts, for messages: "cells.h5 has 2 genomes".
        usual: The one that is taken where none is asked for.

    Raises:
        CellFileError: There is no such part, or several and none is asked for; lists them.
    """
    shown = ", ".join(parts[:PARTS_SHOWN]) + (", …" if len(parts) > PARTS_SHOWN else "")
    if opening.part is not None:
        if opening.part in parts:
            return opening.part
        problem = f"{said}: there is no part `{opening.part}`"
        raise CellFileError(problem, hint=f"pass `--part` with one of: {shown}")
    if usual in parts:
        return usual
    if len(parts) == 1:
        return parts[0]
    problem = f"{said}: {shown}"
    example = parts[0] if parts else "NAME"
    raise CellFileError(problem, hint=f"choose one of them: `--part {example}`")


def check_no_part(opening: Opening, name: str) -> None:
    """Refuse a part of a source that has none.

    Raises:
        CellFileError: One is asked for.
    """
    if opening.part is not None:
        problem = f"{name} has no parts, so there is no part `{opening.part}`"
        raise CellFileError(problem, hint="leave `--part` out; a matrix is named with `--layer`")
