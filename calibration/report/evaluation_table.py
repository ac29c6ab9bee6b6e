"""An evaluation as plain text for the terminal."""

from __future__ import annotations

from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.report.certainty_part import certainty_rows, says_nothing
from c2t.calibration.report.charts import percent
from c2t.calibration.results.evaluation import Evaluation, SystemScores
from c2t.runtime.system.text_tables import Section, render, table


def evaluation_text(evaluation: Evaluation) -> str:
    """Figures with their intervals; beside them, the other bundle's and the differences."""
    parts = [_heading(evaluation), table(_head(evaluation), _rows(evaluation)).rstrip("\n") + "\n"]
    certainty = evaluation.judged.certainty
    if certainty is not None and not says_nothing(evaluation):
        parts.append(render([Section("Confidence of the cell type", certainty_rows(certainty))]))
    comparison = evaluation.comparison
    if comparison is not None:
        lines = [("identical texts", percent(comparison.identical_texts))]
        if comparison.token_agreement is not None:
            lines.append(("token agreement", percent(comparison.token_agreement)))
        if comparison.forced_agreement is not None:
            lines.append(("same likeliest token", percent(comparison.forced_agreement)))
        if comparison.kl_per_token is not None:
            kl = comparison.kl_per_token
            text = f"{kl.value:.3g} nats ({kl.low:.3g} to {kl.high:.3g})"
            lines.append(("KL per token", text))
        if comparison.first_divergence:
            middle = sorted(comparison.first_divergence)[len(comparison.first_divergence) // 2]
            lines.append(("texts differ", f"from token {middle} on (median)"))
        if comparison.not_compared:
            lines.append(("", comparison.not_compared))
        parts.append(render([Section("The two bundles", lines)]))
    return "\n".join(parts)


def _heading(evaluation: Evaluation) -> str:
    lines = [f"{evaluation.cells:,} cells of {evaluation.cells_file}"]
    for role, system in (("judged", evaluation.judged), ("against", evaluation.against)):
        if system is not None:
            failed = f", {system.failed:,} cells not described" if system.failed else ""
            lines.append(f"{role}: {system.bundle} ({system.precision}){failed}")
    return "\n".join(lines) + "\n"


def _head(evaluation: Evaluation) -> tuple[str, ...]:
    head = ("", "judged")
    return (*head, "against", "difference") if evaluation.against is not None else head


def _rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    judged, against = evaluation.judged, evaluation.against
    for name, score in judged.fields.items():
        what, difference = name.replace("_", " "), evaluation.differences.get(name)
        other = against.fields[name] if against is not None else None
        shown = ["accuracy", "macro_f1"]
        if name == "cell_type":
            shown += ["macro_precision", "macro_recall"]
        for figure in shown:
            row = [f"{what} {figure.replace('_', ' ').replace('f1', 'F1')}"]
            row.append(percent(getattr(score, figure)))
            if other is not None:
                row += [percent(getattr(other, figure)), _points(getattr(difference, figure, None))]
            rows.append(tuple(row))
        if score.similarity is not None:
            row = [f"{what} similarity", _number(score.similarity.mean)]
            if other is not None and other.similarity is not None:
                change = None if difference is None else difference.similarity
                row += [_number(other.similarity.mean), _number(change, "+") if change else ""]
            rows.append(tuple(row))
    return rows + [_text_row(metric, judged, against) for metric in judged.texts]


def _text_row(metric: str, judged: SystemScores, against: SystemScores | None) -> tuple[str, ...]:
    row = (metric, percent(judged.texts[metric]))
    return row if against is None else (*row, percent(against.texts[metric]), "")


def _number(figure: Interval, sign: str = "") -> str:
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


def _points(change: Interval | None) -> str:
    if change is None:
        return ""
    value, low, high = (100 * part for part in (change.value, change.low, change.high))
    return f"{value:+.2f} points ({low:+.2f} to {high:+.2f})"
