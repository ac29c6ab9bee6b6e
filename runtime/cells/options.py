"""How to read cells, and which of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from c2t.runtime.system.errors import CellFileError

# How to treat the values of a matrix: judged by themselves, or as the user says.
Values = Literal["auto", "counts", "log1p", "normalized"]
# No file name is longer. A longer option can only be a list of ids.
NAME_BYTES_MAX = 1024


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """How to read cells; the defaults find out by themselves.

    Args:
        part: Of a source with several data sets, the one to take: a modality of `.h5mu` ("rna"
            without it), a genome of a CellRanger 2 `.h5`, one of several matrices of a folder.
        layer: The matrix to take: "X", "raw", "layers/NAME" or NAME.
        values: What its values are, instead of judging them.
        gene_column: Column of the gene table with ids or symbols, "var_names" for its index.
        min_coverage: Least share of the expressed genes, and of the counts, that the bundle must
            know, and, up to 1 %, of the bundle's genes that must have a column; 0 takes any.
        organism: What the cells are, whatever the file says: the bundle's species ("human"), or
            "any" to describe cells of other species as if they were of it.
        species: What the cells are, if their genes are to be taken as those of the bundle's
            species, by `orthologues`.
        orthologues: Path of a table of orthologues; see `c2t.runtime.cells.genes.orthologues`.
        cells: Only these cells: names (all cells of that name) or positions in the file.
        limit: At most this many cells, the first ones.
        filter_pass: Leave out cells whose `obs["filter_pass"]` is not 1, as Geneformer does;
            cells asked for by name or position are always kept.

    Raises:
        CellFileError: An option has a value that it cannot have.
    """

    part: str | None = None
    layer: str | None = None
    values: Values = "auto"
    gene_column: str | None = None
    min_coverage: float = 0.10
    organism: str | None = None
    species: str | None = None
    orthologues: str | None = None
    cells: Sequence[str] | Sequence[int] | None = None
    limit: int | None = None
    filter_pass: bool = True

    def __post_init__(self) -> None:
        if self.values not in get_args(Values):
            problem = f"values is {self.values!r}"
            raise CellFileError(problem, hint=f"give one of {', '.join(get_args(Values))}")
        if not 0 <= self.min_coverage <= 1:  # NaN is refused too
            problem = f"min_coverage is {self.min_coverage}"
            raise CellFileError(problem, hint="give a share from 0 to 1")
        if self.orthologues is not None and self.species is None:
            problem = f"orthologues of {self.orthologues} are given, but not of which species"
            raise CellFileError(problem, hint="say it too: `--species mouse`")
        if self.species is not None and self.organism is not None:
            problem = f"--species {self.species} and --organism {self.organism} are both given"
            raise CellFileError(problem, hint="give one of them")
        if self.limit is not None and self.limit < 0:
            problem = f"limit is {self.limit}"
            raise CellFileError(problem, hint="give a number of cells, or None for all")


def read_ids(choice: str) -> list[str]:
    """Cell ids from an option: the lines of a file of that name if there is one, else a list.

    Args:
        choice: A path, or ids with commas between them.

    Raises:
        CellFileError: There are no ids in it.
    """
    short = len(os.fsencode(choice)) < NAME_BYTES_MAX
    is_file = short and os.path.isfile(choice)  # noqa: PTH113 - Path's raises for some
    try:
        parts = (
            Path(choice).read_text(encoding="utf-8").splitlines() if is_file else choice.split(",")
        )
    except UnicodeDecodeError as error:
        problem = f"--cells {choice}: not a text file in UTF-8"
        raise CellFileError(problem, hint="give a text file with one cell id a line") from error
    ids = [part.strip() for part in parts if part.strip()]
    if not ids:
        problem = f"no cell ids in --cells {choice!r}"
        raise CellFileError(problem, hint="give ids with commas between, or a file with one a line")
    return ids
