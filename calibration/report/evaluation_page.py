"""The HTML page of an evaluation, and the parts that the page of a calibration shares with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.metrics.field_score import FieldScore
from c2t.calibration.report.certainty_part import (
    CertaintyPart,
    ProposalPart,
    certainty_part,
    proposal_part,
)
from c2t.calibration.report.charts import (
    COLOURS,
    BarRow,
    IntervalRow,
    bar_chart,
    heat_map,
    histogram,
    interval_chart,
    percent,
)
from c2t.calibration.report.examples import Example, example
from c2t.calibration.report.pages import render
from c2t.calibration.results.evaluation import Comparison, Evaluation, SystemScores
from c2t.runtime.system.svg import Markup

# Rows and columns of the confusion matrix at most; the rarest labels are left out.
MATRIX_LABELS = 30
BARS = 60

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Card:
    """One figure in large letters."""

    name: str
    value: str
    remark: str


@dataclass(frozen=True)
class FieldPart:
    """The charts of one field; `rarer` labels have no bar."""

    title: str
    recalls: Markup
    rarer: int
    matrix: Markup


@dataclass(frozen=True)
class ComparisonPart:
    """Two bundles on the same cells; `divergences` texts differ, and the histogram says where."""

    cells: int
    rows: Rows
    not_compared: str | None
    divergences: int
    histogram: Markup | None


@dataclass(frozen=True)
class EvaluationPart:
    """What a page shows of an evaluation, less the details."""

    series: list[tuple[str, str]]  # colour and name of each bundle, if there are two
    cards: list[Card]
    warnings: Sequence[str]
    figures: Markup
    figures_note: str
    fields: list[FieldPart]
    certainty: CertaintyPart | None
    proposal: ProposalPart | None
    comparison: ComparisonPart | None
    examples: list[Example]


def evaluation_page(evaluation: Evaluation) -> str:
    """The whole page."""
    judged = evaluation.judged
    cells = f"{evaluation.cells:,} cells"
    return render(
        "evaluation.html.j2",
        title=f"{judged.bundle}: evaluation on {cells}",
        name=judged.bundle,
        line=f"{cells} of {evaluation.cells_file}, precision {judged.precision}",
        shown=evaluation_part(evaluation),
        details=_details(evaluation),
    )


def evaluation_part(evaluation: Evaluation) -> EvaluationPart:
    """Figures, pictures, and example texts."""
    bootstrap = evaluation.bootstrap
    return EvaluationPart(
        series=_series(evaluation),
        cards=_cards(evaluation),
        warnings=evaluation.warnings,
        figures=_figures(evaluation),
        figures_note=(
            f"Bars are {100 * bootstrap.coverage:.0f} % bootstrap intervals over cells "
            f"({bootstrap.resamples:,} resamples)."
        ),
        fields=[
            _field(evaluation, name)
            for name, score in evaluation.judged.fields.items()
            # A matrix of one label shows nothing that the accuracy does not.
            if len(score.labels) > 1 or name == "cell_type"
        ],
        certainty=certainty_part(evaluation),
        proposal=proposal_part(evaluation.proposal, used=evaluation.label_map is not None),
        comparison=None
        if evaluation.comparison is None
        else comparison_part(evaluation.comparison),
        examples=[example(record) for record in evaluation.examples],
    )


def comparison_part(comparison: Comparison) -> ComparisonPart:
    """The comparison of two bundles."""
    rows = [("identical texts", percent(comparison.identical_texts))]
    if comparison.token_agreement is not None:
        rows.append(("tokens equal at the same position", percent(comparison.token_agreement)))
    if comparison.forced_agreement is not None:
        rows.append(("same likeliest token on the same text", percent(comparison.forced_agreement)))
    if comparison.kl_per_token is not None:
        kl = comparison.kl_per_token
        text = f"{kl.value:.3g} nats ({kl.low:.3g} to {kl.high:.3g})"
        rows.append(("KL(against || judged) per token", text))
    divergences = comparison.first_divergence
    return ComparisonPart(
        cells=comparison.cells,
        rows=rows,
        not_compared=comparison.not_compared,
        divergences=len(divergences),
        histogram=histogram(divergences, max(comparison.text_lengths)) if divergences else None,
    )


def _series(evaluation: Evaluation) -> list[tuple[str, str]]:
    systems = _systems(evaluation)
    if len(systems) < 2:
        return []
    return [
        (colour, f"{role}: {system.bundle} ({system.precision})")
        for colour, role, system in zip(COLOURS, ("judged", "against"), systems, strict=True)
    ]


def _cards(evaluation: Evaluation) -> list[Card]:
    cards = []
    for name, score in evaluation.judged.fields.items():
        cards.append(_card(f"{_words(name)} accuracy", score.accuracy, evaluation, name))
        if name == "cell_type":
            cards.append(_card("cell type macro F1", score.macro_f1, evaluation, name))
        if score.similarity is not None:
            near = score.similarity
            remark = f"{near.mean.low:.2f} to {near.mean.high:.2f}; {near.best:.2f} if all right"
            difference = evaluation.differences.get(name)
            remark += _difference(difference.similarity, 1, "") if difference else ""
            title = f"{_words(name)} ontology similarity"
            cards.append(Card(title, f"{near.mean.value:.2f}", remark))
    comparison = evaluation.comparison
    if comparison is not None:
        for name, share in (
            ("identical texts", comparison.identical_texts),
            ("token agreement", comparison.token_agreement),
        ):
            if share is not None:
                cards.append(Card(name, f"{100 * share.value:.1f} %", _range(share)))
        if comparison.kl_per_token is not None:
            kl = comparison.kl_per_token
            remark = f"{kl.low:.2g} to {kl.high:.2g} nats"
            cards.append(Card("KL per token", f"{kl.value:.2g}", remark))
    return cards


def _card(name: str, share: Interval, evaluation: Evaluation, field: str) -> Card:
    remark = _range(share)
    difference = evaluation.differences.get(field)
    if difference is not None:
        change = difference.macro_f1 if name.endswith("F1") else difference.accuracy
        remark += _difference(change, 100, " points")
    return Card(name, f"{100 * share.value:.1f} %", remark)


def _range(share: Interval) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %"


def _difference(change: Interval | None, scale: float, unit: str) -> str:
    if change is None:
        return ""
    low, high = scale * change.low, scale * change.high
    return f"; {scale * change.value:+.2f}{unit} ({low:+.2f} to {high:+.2f}) against the other"


def _figures(evaluation: Evaluation) -> Markup:
    systems = _systems(evaluation)

    def row(name: str, figure: Callable[[SystemScores], Interval | None]) -> IntervalRow:
        return IntervalRow(name, tuple(figure(system) for system in systems))

    rows = []
    for name in evaluation.judged.fields:
        for what in ("accuracy", "macro_f1", "macro_precision", "macro_recall"):
            if what != "accuracy" and name != "cell_type":
                continue
            label = f"{_words(name)} {what.replace('_', ' ').replace('f1', 'F1')}"
            # mypy cannot infer lambdas with defaults, which bind the loop's variables here.
            rows.append(row(label, lambda s, n=name, w=what: getattr(s.fields[n], w)))  # type: ignore[misc]
    rows += [
        row(metric, lambda s, m=metric: s.texts.get(m))  # type: ignore[misc]  # as above
        for metric in evaluation.judged.texts
    ]
    return interval_chart(rows)


def _field(evaluation: Evaluation, name: str) -> FieldPart:
    score = evaluation.judged.fields[name]
    ordered = sorted(score.labels, key=lambda label: -score.labels[label].cells)
    others = [system.fields[name] for system in _systems(evaluation)[1:]]
    bars = []
    for label in ordered[:BARS]:
        judged = score.labels[label]
        shares = (judged.recall, *(other.labels[label].recall for other in others))
        remark = f"{100 * judged.recall:.1f} % of {judged.cells:,} cells"
        bars.append(BarRow(label, shares, remark))
    return FieldPart(
        title=_words(name).capitalize(),
        recalls=bar_chart(bars),
        rarer=max(len(ordered) - BARS, 0),
        matrix=_matrix(score, ordered[:MATRIX_LABELS]),
    )


def _matrix(score: FieldScore, rows: Sequence[str]) -> Markup:
    counts = {(row, said): n for row in rows for said, n in score.confusion[row].items()}
    said: dict[str, int] = {}
    for (_, column), count in counts.items():
        said[column] = said.get(column, 0) + count
    invented = sorted((c for c in said if c and c not in rows), key=lambda c: -said[c])
    # Labels that no cell has come after the true ones, the most frequent first.
    shown = [*rows, *invented[: MATRIX_LABELS // 3]]
    for (row, column), count in list(counts.items()):
        if column and column not in shown:
            counts[row, "other"] = counts.get((row, "other"), 0) + count
    columns = [*shown, *(["other"] if len(invented) > MATRIX_LABELS // 3 else [])]
    return heat_map(rows, [*columns, ""] if "" in said else columns, counts)


def _details(evaluation: Evaluation) -> Rows:
    rows = [("c2t", evaluation.c2t_version), ("file of cells", evaluation.cells_file)]
    for role, system in zip(("judged", "against"), _systems(evaluation), strict=False):
        rows += [
            (f"bundle {role}", f"{system.bundle} ({system.precision})"),
            ("its manifest's SHA-256", system.bundle_sha256),
            ("engine", system.engine),
            ("time", f"{system.seconds:.1f} s, {system.mean_tokens:.1f} tokens a text"),
            ("cells not described", f"{system.failed:,}"),
        ]
    for name, score in evaluation.judged.fields.items():
        text = f"{score.cells:,} cells labelled by {score.column}, {score.unread:,} texts without"
        if score.similarity is not None:
            text += f"; {score.similarity.ontology}, {score.similarity.cells:,} cells"
        rows.append((_words(name), text))
    if evaluation.label_map is not None:
        rows.append(("label map", evaluation.label_map.sentence))
    rows += [(name.replace("_", " "), value) for name, value in evaluation.generation.items()]
    return rows


def _systems(evaluation: Evaluation) -> list[SystemScores]:
    against = evaluation.against
    return [evaluation.judged, *([against] if against is not None else [])]


def _words(name: str) -> str:
    return name.replace("_", " ")
