"""Evidence as tables for people: a heading that names the words, and a line a gene."""

from __future__ import annotations

from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.groups import GroupEvidence
from c2t.runtime.output.evidence.rows import Evidence
from c2t.runtime.system.text_tables import table, visible


def cell_table(evidence: CellEvidence, top: int | None) -> str:
    """One cell's genes; a cell with an error is one line.

    Args:
        evidence: Of the cell.
        top: At most so many genes; None: all.
    """
    name = visible(evidence.cell)
    if evidence.error is not None:
        return f"{name}: {visible(evidence.error)}\n"
    said = f'"{visible(evidence.words or "")}"'
    if evidence.words != evidence.written:
        said += f' (the text says "{visible(evidence.written or "")}")'
    lines = [
        f"{name}: {said}, probability {evidence.probability:.4g}",
        f"noise {evidence.noise:.2g}, {evidence.runs:,} runs, {evidence.genes_used:,} genes",
    ]
    together = evidence.together
    if together is not None:
        lines.append(
            f"without the {together.genes} strongest for it: {together.probability:.4g}; "
            f"without {together.genes} random genes: {together.control:.4g}"
        )
    rows: list[tuple[str, ...]] = [
        (
            gene.symbol or gene.gene_id,
            gene.gene_id,
            str(gene.rank),
            f"{gene.evidence:+.3g}",
            f"{gene.effect:+.3g}",
            f"{gene.probability_effect:+.3g}",
            gene.direction,
        )
        for gene in evidence.genes[:top]
    ]
    head = ("gene", "id", "rank", "evidence", "effect", "probability", "direction")
    return "\n".join(lines) + "\n" + table(head, rows)


def group_table(evidence: GroupEvidence, top: int | None) -> str:
    """One group's genes; see `cell_table`."""
    name = visible(evidence.group)
    if evidence.words is None:
        return f"{name}: none of {evidence.sampled:,} cells could be explained\n"
    said = f'{evidence.saying:,} of {evidence.sampled:,} cells say "{visible(evidence.words)}"'
    sample = f"sampled from {evidence.size:,}; {evidence.failed:,} with an error"
    rows: list[tuple[str, ...]] = [
        (
            gene.symbol or gene.gene_id,
            gene.gene_id,
            f"{gene.share_for:.0%}",
            f"{gene.share_against:.0%}",
            f"{gene.median_evidence:+.3g}",
            f"{gene.median_probability_effect:+.3g}",
        )
        for gene in evidence.genes[:top]
    ]
    head = ("gene", "id", "for in", "against in", "median evidence", "median probability")
    return f"{name}: {said} ({sample})\n{table(head, rows)}"


def evidence_table(evidence: Evidence, top: int | None) -> str:
    """The table of a cell or of a group."""
    if isinstance(evidence, CellEvidence):
        return cell_table(evidence, top)
    return group_table(evidence, top)
