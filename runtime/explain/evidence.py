"""What is found: the genes that words of a cell's text rest on.

Definitions. The *effect* of a gene is the log probability (natural) of the words given the cell,
less that given the cell without the gene, whose later genes move up one rank. That move is part of
it: an encoder with position embeddings sees all later genes somewhere else. It is the same whatever
gene is left out there, and often larger than what the gene itself says. So it is measured on
control genes (`c2t.runtime.explain.control`) as the *shift* at a rank, and the *evidence* of a gene
is its effect less the shift. Nothing moves in at the end: genes past the encoder's input are not
known. The *noise* is how far the controls scatter around the shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BEYOND = 3.0  # a gene is evidence if it moves the words by more than so many times the noise
FOR, AGAINST, NONE = "for", "against", "none"


@dataclass(frozen=True, kw_only=True)
class GeneEvidence:
    """One gene that was left out.

    Args:
        gene_id: As the bundle names it.
        symbol: None where neither the file nor the bundle says one.
        rank: Its place among the cell's genes; 1 is the first.
        effect: What log probability the words lose without it.
        probability_effect: The same of the probability.
        shift: What they lose when any gene of this rank is left out.
        evidence: `effect` less `shift`.
        direction: "for", "against"; "none" where the evidence is within `BEYOND` times the noise.
        control: Whether it was left out as a control, not because it was suspected.
    """

    gene_id: str
    symbol: str | None
    rank: int
    effect: float
    probability_effect: float
    shift: float
    evidence: float
    direction: str
    control: bool


def probability_effect(base: float, effect: float) -> float:
    """What probability words lose without a gene.

    Args:
        base: Log probability of the words, given the whole cell.
        effect: What it loses without the gene.

    Returns:
        0 where both probabilities are too small for a double.
    """
    return math.exp(base) - math.exp(min(base - effect, 0.0))


@dataclass(frozen=True, kw_only=True)
class Together:
    """The genes that speak most for the words left out together, held against as many random ones.

    Args:
        genes: How many.
        probability: Of the words without the strongest.
        control: Of the words without random ones, the median of several draws.
        moved: How far the probability moves without the strongest.
        control_moved: How far it moves without random ones, the mean of the draws.
    """

    genes: int
    probability: float
    control: float
    moved: float
    control_moved: float


@dataclass(frozen=True, kw_only=True)
class CellEvidence:
    """What the words of one cell's text rest on.

    Args:
        cell: The cell's id.
        text: What the model wrote; None where it wrote nothing.
        field: The field that is explained.
        words: The words that were scored: those of the text, or the label asked for.
        written: What the text says in the field.
        probability: Of the words and the end of the field, given the text before them.
        noise: How far controls scatter, in log probability.
        genes: The genes left out one by one, strongest evidence first, of either direction.
        genes_used: Genes that the encoder saw.
        complete: Whether every one of them was left out by itself.
        together: The check; None for a cell with too few genes.
        runs: Encoder runs, with a score each.
        error: Why there is nothing; None where there is something.
    """

    cell: str
    text: str | None
    field: str
    words: str | None = None
    written: str | None = None
    probability: float | None = None
    noise: float | None = None
    genes: tuple[GeneEvidence, ...] = ()
    genes_used: int = 0
    complete: bool = False
    together: Together | None = None
    runs: int = 0
    error: str | None = None

    def strongest(self, most: int | None) -> tuple[GeneEvidence, ...]:
        """At most so many genes, whatever their direction; None: all that were left out."""
        return self.genes[:most]
