"""Markers that the model used: the evidence of the cells of a group, taken together.

Two decisions. A group's cells are a random sample of a stated size: a seed and the group's name
choose it, so it does not depend on the other groups. And only cells that say the same are taken
together: what speaks for another type is no marker of this one. How many said it is stated.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from c2t.runtime.explain.evidence import AGAINST, FOR, CellEvidence, GeneEvidence
from c2t.runtime.labels.no_value import NO_VALUE

GROUPS_MAX = 200
NO_GROUP = NO_VALUE  # as `describe --group-by` has it


@dataclass(frozen=True, kw_only=True)
class GroupGene:
    """A gene in the cells of a group that say the group's words.

    Args:
        gene_id: As the bundle names it.
        symbol: None where neither the file nor the bundle says one.
        cells: Cells in which it was left out by itself.
        share_for: Share of the group's cells, of those that say the words, in which it is
            evidence for them.
        share_against: The same, against them.
        median_evidence: Over the cells in which it was left out, in log probability.
        median_probability_effect: Likewise.
    """

    gene_id: str
    symbol: str | None
    cells: int
    share_for: float
    share_against: float
    median_evidence: float
    median_probability_effect: float


@dataclass(frozen=True, kw_only=True)
class GroupEvidence:
    """What the words of a group's cells rest on.

    Args:
        group: Its name.
        size: Cells in it.
        sampled: Cells of the sample.
        failed: Cells of the sample that have an error.
        words: What most of the others say, or the label asked for.
        saying: How many do; their evidence is taken together.
        genes: Those that are evidence in at least one cell, most often for the words first.
    """

    group: str
    size: int
    sampled: int
    failed: int
    words: str | None
    saying: int
    genes: tuple[GroupGene, ...]


def sample_groups(labels: Sequence[str], *, most: int, seed: int) -> dict[str, list[int]]:
    """Random cells of each group.

    Args:
        labels: The group of each cell; some of `NO_GROUP` have none.
        most: At most so many of a group.
        seed: Together with a group's name it chooses the cells.

    Returns:
        Positions of the sampled cells, ascending, by group in alphabetical order.
    """
    members: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        if label not in NO_GROUP:
            members.setdefault(label, []).append(position)
    sampled = {}
    for label in sorted(members):
        random = np.random.default_rng([seed, zlib.crc32(label.encode())])
        cells = members[label]
        chosen = random.choice(len(cells), min(most, len(cells)), replace=False)
        sampled[label] = [cells[place] for place in sorted(chosen.tolist())]
    return sampled


def group_evidence(group: str, size: int, cells: Sequence[CellEvidence]) -> GroupEvidence:
    """Take the evidence of a group's cells together.

    Args:
        group: Its name.
        size: Cells in it.
        cells: The sampled ones.
    """
    good = [cell for cell in cells if cell.error is None and cell.words is not None]
    counts = Counter(cell.words for cell in good)
    # Of words that are said equally often, the first by the alphabet.
    words = min(counts, key=lambda said: (-counts[said], str(said))) if counts else None
    saying = [cell for cell in good if cell.words == words]
    of_gene: dict[str, list[GeneEvidence]] = {}
    for cell in saying:
        for gene in cell.genes:
            of_gene.setdefault(gene.gene_id, []).append(gene)
    genes = [_together(found, len(saying)) for found in of_gene.values()]
    listed = [gene for gene in genes if gene.share_for or gene.share_against]
    listed.sort(key=lambda g: (-g.share_for, g.share_against, -abs(g.median_evidence), g.gene_id))
    return GroupEvidence(
        group=group,
        size=size,
        sampled=len(cells),
        failed=len(cells) - len(good),
        words=words,
        saying=len(saying),
        genes=tuple(listed),
    )


def _together(found: Sequence[GeneEvidence], cells: int) -> GroupGene:
    return GroupGene(
        gene_id=found[0].gene_id,
        symbol=found[0].symbol,
        cells=len(found),
        share_for=sum(gene.direction == FOR for gene in found) / cells,
        share_against=sum(gene.direction == AGAINST for gene in found) / cells,
        median_evidence=float(np.median([gene.evidence for gene in found])),
        median_probability_effect=float(np.median([gene.probability_effect for gene in found])),
    )
