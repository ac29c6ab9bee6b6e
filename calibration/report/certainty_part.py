"""What a page and a terminal show of confidence against labels, and of labels named otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from c2t.calibration.confidence.score import CertaintyScore
from c2t.calibration.labels.scores import LabelProposal, any_renamed
from c2t.calibration.report.reliability_chart import reliability_chart
from c2t.calibration.results.evaluation import Evaluation
from c2t.runtime.system.svg import Markup

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class CertaintyPart:
    """The reliability diagram and its figures."""

    chart: Markup
    rows: Rows
    note: str


@dataclass(frozen=True)
class ProposalPart:
    """A proposed label map: a sentence, and a table with its head."""

    sentence: str
    note: str
    head: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]


def says_nothing(evaluation: Evaluation) -> bool:
    """Whether labels and texts have other names, so that no confidence can be held against them."""
    proposal = evaluation.proposal
    return evaluation.label_map is None and proposal is not None and any_renamed(proposal)


def certainty_part(evaluation: Evaluation) -> CertaintyPart | None:
    """What a page shows of the judged bundle's confidence; None if there is nothing to show."""
    score = evaluation.judged.certainty
    if score is None or says_nothing(evaluation):
        return None
    series = [score.before] + ([] if score.after is None else [score.after])
    note = "Each dot holds the cells of a tenth of the stated share."
    if score.after is None:
        note += " There are too few cells to fit a probability."
    elif not score.stated:
        note += (
            " The bundle states no probability. The one shown is fitted on these cells, each judged"
            " by a fit on others; --fit-unsure writes it into a bundle."
        )
    return CertaintyPart(chart=reliability_chart(series), rows=certainty_rows(score), note=note)


def certainty_rows(score: CertaintyScore) -> Rows:
    """Figures of a bundle's confidence."""
    rows = [("calibration error (ECE) of the confidence", f"{score.before.ece:.3f}")]
    if score.after is not None:
        rows.append((f"of the {score.after.of}", f"{score.after.ece:.3f}"))
    answers = score.answers
    if answers is not None:
        rows.append(("cells that are not unsure", _percent(answers.answered)))
        rows.append(("of those right", _percent(answers.answered_right)))
        rows.append(("of the unsure right", _percent(answers.unsure_right)))
    return rows


def proposal_part(proposal: LabelProposal | None, *, used: bool) -> ProposalPart | None:
    """What a page shows of a proposed label map.

    Args:
        proposal: None without one.
        used: Whether a label map was given, so that the figures rest on that.
    """
    if proposal is None:
        return None
    note = "No figure of this page rests on the proposal."
    if used:
        note += " They rest on the label map that was given."
    lines = [
        (
            line.label,
            line.name or "",
            line.term or "",
            "yes" if line.use else "no",
            f"{line.reason}: {line.evidence}",
            f"{line.cells:,}",
            _percent(line.share),
            f"{line.second} ({_percent(line.second_share)})" if line.second else "",
        )
        for line in proposal.lines
    ]
    head = ("label", "name in the texts", "term", "use", "evidence", "cells", "say it", "second")
    return ProposalPart(sentence=f"{proposal.sentence}.", note=note, head=head, lines=lines)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
