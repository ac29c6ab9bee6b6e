"""How cells are read: the options of all commands that read some."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c2t.runtime.command_line.options import PartOption

if TYPE_CHECKING:
    from c2t.runtime.cells.options import CellOptions


class Values(enum.StrEnum):
    """What the values of a matrix can be said to be."""

    auto = "auto"
    counts = "counts"
    log1p = "log1p"
    normalized = "normalized"


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How to read cells, as a user says it; `CellOptions` says what each option does.

    Which cells are read is not among them: commands differ in it.
    """

    layer: Annotated[
        str | None, typer.Option(help='Matrix with the counts: "X", "raw" or a layer\'s name.')
    ] = None
    counts_are: Annotated[Values, typer.Option(help="What its values are; auto looks at them.")] = (
        Values.auto
    )
    gene_column: Annotated[
        str | None, typer.Option(help="Column of `var` with Ensembl ids or symbols.")
    ] = None
    min_coverage: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Least share of genes and counts that must be known; 0: take any."
        ),
    ] = 0.1
    organism: Annotated[
        str | None,
        typer.Option(
            help="What the cells are, whatever the file says; any: describe other species all the "
            "same."
        ),
    ] = None
    species: Annotated[
        str | None,
        typer.Option(
            help="What the cells are, to take their genes as the bundle's: mouse, with "
            "--orthologues."
        ),
    ] = None
    orthologues: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Table of orthologues of that species: of Ensembl BioMart or MGI, or two columns.",
        ),
    ] = None
    part: PartOption = None
    filter_pass: Annotated[
        bool, typer.Option(help="Leave out cells whose obs filter_pass is not 1.")
    ] = True

    def cell_options(
        self, *, cells: Sequence[str] | None = None, limit: int | None = None
    ) -> CellOptions:
        """These, with which cells to read.

        Args:
            cells: Their ids; None: all.
            limit: At most so many, the first ones; None: all.

        Raises:
            CellFileError: Options that contradict each other.
        """
        from c2t.runtime.cells.options import CellOptions

        return CellOptions(
            layer=self.layer,
            values=self.counts_are.value,
            gene_column=self.gene_column,
            min_coverage=self.min_coverage,
            organism=self.organism,
            species=self.species,
            orthologues=None if self.orthologues is None else str(self.orthologues),
            part=self.part,
            cells=cells,
            limit=limit,
            filter_pass=self.filter_pass,
        )
