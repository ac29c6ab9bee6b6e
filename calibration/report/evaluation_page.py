"""An evaluation as one HTML page that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.metrics.field_score import FieldScore
from c2t.calibration.report.evaluation_examples import example_section
from c2t.calibration.report.html_elements import Markup, element
from c2t.calibration.report.report_page import page, section, table
from c2t.calibration.report.svg_charts import (
    COLOURS,
    BarRow,
    IntervalRow,
    bar_chart,
    heat_map,
    histogram,
    interval_chart,
    percent,
)
from c2t.calibration.results.evaluation import Comparison, Evaluation, SystemScores

# Rows and columns of the confusion matrix at most; the rarest labels go.
MATRIX_LABELS = 30
BARS = 60


def evaluation_page(evaluation: Evaluation) -> str:
    """The whole page."""
    judged = evaluation.judged
    title = f"{judged.bundle}: evaluation on {evaluation.cells:,} cells"
    return page(title, _heading(evaluation), *evaluation_parts(evaluation), _details(evaluation))


def evaluation_parts(evaluation: Evaluation) -> list[Markup | str]:
    """What stands between the heading and the details: figures, pictures, and example texts."""
    return [
        _cards(evaluation),
        _warnings(evaluation),
        _figures(evaluation),
        *(_field_section(evaluation, name) for name in evaluation.judged.fields),
        *comparison_parts(evaluation.comparison),
        example_section(evaluation.examples),
    ]


def _heading(evaluation: Evaluation) -> Markup:
    judged = evaluation.judged
    line = f"{evaluation.cells:,} cells of {evaluation.cells_file}, precision {judged.precision}"
    parts = [element("h1", None, judged.bundle), element("p", {"class": "sub"}, line)]
    return element("header", None, *parts, series_key(evaluation))


def series_key(evaluation: Evaluation) -> Markup | str:
    """Which colour is which bundle; nothing if there is only one."""
    judged, against = evaluation.judged, evaluation.against
    if against is None:
        return ""
    return element(
        "p",
        {"class": "key"},
        _swatch(0),
        f"judged: {judged.bundle} ({judged.precision})",
        _swatch(1),
        f"against: {against.bundle} ({against.precision})",
    )


def _swatch(series: int) -> Markup:
    return element("span", {"class": "swatch", "style": f"background:{COLOURS[series]}"})


def _cards(evaluation: Evaluation) -> Markup:
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
            what = f"{_words(name)} ontology similarity"
            cards.append(_plain_card(what, f"{near.mean.value:.2f}", remark))
    comparison = evaluation.comparison
    if comparison is not None:
        for name, found in (
            ("identical texts", comparison.identical_texts),
            ("token agreement", comparison.token_agreement),
        ):
            if found is not None:
                cards.append(_plain_card(name, f"{100 * found.value:.1f} %", _range(found)))
        if comparison.kl_per_token is not None:
            found = comparison.kl_per_token
            remark = f"{found.low:.2g} to {found.high:.2g} nats"
            cards.append(_plain_card("KL per token", f"{found.value:.2g}", remark))
    return element("div", {"class": "cards"}, *cards)


def _card(name: str, found: Interval, evaluation: Evaluation, field: str) -> Markup:
    remark = _range(found)
    difference = evaluation.differences.get(field)
    if difference is not None:
        change = difference.macro_f1 if name.endswith("F1") else difference.accuracy
        remark += _difference(change, 100, " points")
    return _plain_card(name, f"{100 * found.value:.1f} %", remark)


def _plain_card(name: str, value: str, remark: str) -> Markup:
    return element(
        "div",
        {"class": "card"},
        element("div", {"class": "name"}, name),
        element("div", {"class": "value"}, value),
        element("div", {"class": "remark"}, remark),
    )


def _range(found: Interval) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f} %"


def _difference(change: Interval | None, scale: float, unit: str) -> str:
    if change is None:
        return ""
    low, high = scale * change.low, scale * change.high
    return f"; {scale * change.value:+.2f}{unit} ({low:+.2f} to {high:+.2f}) against the other"


def _warnings(evaluation: Evaluation) -> Markup | str:
    if not evaluation.warnings:
        return ""
    items = [element("li", None, warning) for warning in evaluation.warnings]
    return element("section", {"class": "warnings"}, element("ul", None, *items))


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
    coverage = f"{100 * evaluation.bootstrap.coverage:.0f} %"
    note = (
        f"Bars are {coverage} bootstrap intervals over cells "
        f"({evaluation.bootstrap.resamples:,} resamples)."
    )
    return section("Figures", _scroll(interval_chart(rows)), element("p", {"class": "sub"}, note))


def _field_section(evaluation: Evaluation, name: str) -> Markup | str:
    score = evaluation.judged.fields[name]
    if len(score.labels) < 2 and name != "cell_type":
        return ""  # a matrix of one label shows nothing that the accuracy does not
    ordered = sorted(score.labels, key=lambda label: -score.labels[label].cells)
    others = [s.fields[name] for s in _systems(evaluation)[1:]]
    bars = []
    for label in ordered[:BARS]:
        found = score.labels[label]
        shares = (found.recall, *(other.labels[label].recall for other in others))
        remark = f"{100 * found.recall:.1f} % of {found.cells:,} cells"
        bars.append(BarRow(label, shares, remark))
    more = len(ordered) - BARS
    return section(
        _words(name).capitalize(),
        element("h3", None, "Share of each label's cells that the text gets right"),
        _scroll(bar_chart(bars)),
        element("p", {"class": "sub"}, f"and {more:,} rarer labels" if more > 0 else ""),
        element("h3", None, "True label (line) and label in the text (column), in cells"),
        _scroll(_matrix(score, ordered[:MATRIX_LABELS])),
    )


def _matrix(score: FieldScore, rows: Sequence[str]) -> Markup:
    counts = {(row, said): n for row in rows for said, n in score.confusion[row].items()}
    said: dict[str, int] = {}
    for (_, column), count in counts.items():
        said[column] = said.get(column, 0) + count
    invented = sorted((c for c in said if c and c not in rows), key=lambda c: -said[c])
    # Labels that no cell has come behind the true ones, the most frequent first.
    shown = [*rows, *invented[: MATRIX_LABELS // 3]]
    for (row, column), count in list(counts.items()):
        if column and column not in shown:
            counts[row, "other"] = counts.get((row, "other"), 0) + count
    columns = [*shown, *(["other"] if len(invented) > MATRIX_LABELS // 3 else [])]
    return heat_map(rows, [*columns, ""] if "" in said else columns, counts)


def comparison_parts(found: Comparison | None) -> list[Markup]:
    """The section of a comparison of two bundles; nothing without one."""
    if found is None:
        return []
    lines = [("identical texts", percent(found.identical_texts))]
    if found.token_agreement is not None:
        lines.append(("tokens equal at the same position", percent(found.token_agreement)))
    if found.forced_agreement is not None:
        lines.append(("same likeliest token on the same text", percent(found.forced_agreement)))
    if found.kl_per_token is not None:
        kl = found.kl_per_token
        text = f"{kl.value:.3g} nats ({kl.low:.3g} to {kl.high:.3g})"
        lines.append(("KL(against || judged) per token", text))
    parts: list[Markup | str] = [table(lines)]
    if found.not_compared:
        parts.append(element("p", None, found.not_compared))
    if found.first_divergence:
        title = f"First token that differs, in {len(found.first_divergence):,} texts"
        chart = histogram(found.first_divergence, max(found.text_lengths))
        parts += [element("h3", None, title), _scroll(chart)]
    return [section(f"The two bundles on {found.cells:,} cells", *parts)]


def _details(evaluation: Evaluation) -> Markup:
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
    rows += [(name.replace("_", " "), value) for name, value in evaluation.generation.items()]
    return section("Details", table(rows))


def _systems(evaluation: Evaluation) -> list[SystemScores]:
    against = evaluation.against
    return [evaluation.judged, *([against] if against is not None else [])]


def _scroll(picture: Markup) -> Markup:
    return element("div", {"class": "scroll"}, picture)


def _words(name: str) -> str:
    return name.replace("_", " ")
