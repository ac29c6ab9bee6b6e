"""Whether two columns of a gene table name the same genes.

An id column that was sorted or merged apart from its symbols names a wrong gene in every row, and
all of its names are known: only the other column tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN
from c2t.runtime.system.errors import CellFileError

# Share of the rows in which both columns name a known gene, and not the same one. In real files,
# where symbols have changed hands: up to 0.8 %.
SOME_DISAGREE, MOST_DISAGREE = 0.02, 0.10
# Columns that can be trusted to name the gene of their row. Others ("nearest_gene") may mean
# another one, so they give no more than a warning.
_NAMES_THE_GENE = re.compile(
    r"(?:var_names|(?:ensembl|gene|hgnc|feature)?_?(?:gene_?)?(?:ids?|names?|symbols?)|ensembl|ensg"
    r"|genes?|features?|gene_short_name|accession)(?:[-.].*)?\Z",
    re.IGNORECASE,
)
ROWS_LEAST = 20  # that both must know


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Two columns of names that contradict each other.

    Args:
        column: The one that is used.
        other: The other one.
        rows: Rows in which both know a gene.
        different: Those in which it is not the same.
        row: The first of them.
    """

    column: str
    other: str
    rows: int
    different: int
    row: int

    @property
    def share(self) -> float:
        """Share of the rows that both know."""
        return self.different / self.rows


def check_agreement(
    column: str, genes: Mapping[str, NDArray[np.int32]], names: Mapping[str, Sequence[str]]
) -> list[str]:
    """Refuse columns of names that contradict each other in many rows; warn of some.

    Args:
        column: The used one.
        genes: [columns of the matrix] genes by each column of names, -1 where not known.
        names: The names themselves, for the message.

    Raises:
        CellFileError: They contradict each other in more than 10 % of the rows.
    """
    worst = _worst_disagreement(column, genes)
    if worst is None:
        return []
    pair = f"`{names[worst.column][worst.row]}` and `{names[worst.other][worst.row]}`"
    said = f"`{worst.column}` and `{worst.other}` name different genes in {worst.different:,} of "
    said += f"{worst.rows:,} rows ({worst.share:.0%}; warned about above {SOME_DISAGREE:.0%}, "
    said += f"refused above {MOST_DISAGREE:.0%}), such as {pair}"
    if worst.share <= MOST_DISAGREE or not _NAMES_THE_GENE.match(worst.other):
        return [said]
    hint = "one of them belongs to other rows; pass the right one: "
    hint += f"`--gene-column {worst.column}` or `--gene-column {worst.other}`"
    raise CellFileError(said, hint=hint)


def _worst_disagreement(column: str, genes: Mapping[str, NDArray[np.int32]]) -> Disagreement | None:
    """The column that contradicts the used one most; None if none does in too many rows."""
    worst = None
    for other, theirs in genes.items():
        both = (genes[column] != UNKNOWN) & (theirs != UNKNOWN)
        rows, known = int(both.sum()), int((genes[column] != UNKNOWN).sum())
        if other == column or rows < max(ROWS_LEAST, 0.05 * known):
            continue
        different = np.flatnonzero(both & (theirs != genes[column]))
        if len(different) <= SOME_DISAGREE * rows:
            continue
        here = Disagreement(
            column=column, other=other, rows=rows, different=len(different), row=int(different[0])
        )
        worst = here if worst is None or here.share > worst.share else worst
    return worst
