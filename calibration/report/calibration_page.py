"""The HTML page of a calibration: its cost in quality, sensitive linears, and kernels that ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from c2t.calibration.report.charts import percent, sensitivity_chart
from c2t.calibration.report.evaluation_page import Rows, comparison_part, evaluation_part
from c2t.calibration.report.examples import example
from c2t.calibration.report.pages import render
from c2t.calibration.results.calibration import (
    REPORT_NAME,
    Attempt,
    CalibrationReport,
    KernelReport,
)
from c2t.calibration.results.vectors import FOUND, LEAST_COSINE
from c2t.runtime.system.checked_read import json_bytes

PAGE_NAME = "calibration.html"


def write_calibration_report(folder: Path, name: str, report: CalibrationReport) -> None:
    """Write `calibration.json` and `calibration.html` into a bundle in the making.

    Args:
        folder: The bundle's folder.
        name: The bundle's name.
        report: Their contents.
    """
    (folder / REPORT_NAME).write_bytes(json_bytes(report))
    page = calibration_page(name, report)
    (folder / PAGE_NAME).write_text(page, encoding="utf-8", newline="")


def calibration_page(name: str, report: CalibrationReport) -> str:
    """The whole page."""
    evaluation = report.evaluation
    cells = f"{len(report.cells):,} cells of {report.cells_file}"
    return render(
        "calibration.html.j2",
        title=f"{name}: {report.precision}",
        line=f"calibrated on {cells} ({report.chosen})",
        gate=_gate(report),
        attempts=_attempts(report.attempts),
        # By their labels, where there are any; else by their texts alone.
        judged=None if evaluation is None else evaluation_part(evaluation),
        comparison=None if report.comparison is None else comparison_part(report.comparison),
        examples=[example(record) for record in report.examples],
        sensitivity=sensitivity_chart(report.sensitivity),
        divergences=[
            (f"{item.graph} {item.linear}", f"{item.kl:.3g}")
            for item in report.sensitivity
            if item.kl is not None
        ],
        left_out=", ".join(report.left_out) or "none",
        kernels=[(kernels.graph, _kernels(kernels)) for kernels in report.kernels],
        details=_details(report),
    )


def _gate(report: CalibrationReport) -> Rows:
    comparison, limits = report.comparison, report.tolerance
    if comparison is None:
        return _vectors(report)
    rows = [
        ("held-out cells", f"{comparison.cells:,}"),
        ("same text", percent(comparison.identical_texts)),
    ]
    if comparison.token_agreement is not None:
        least = f"; at least {100 * limits.agreement:.1f} % asked for"
        rows.append(("same tokens", percent(comparison.token_agreement) + least))
    if comparison.kl_per_token is not None:
        rows.append(("KL a token", f"{comparison.kl_per_token.value:.3g} nats"))
    return rows


def _vectors(report: CalibrationReport) -> Rows:
    """Of a bundle that writes no text."""
    found = report.vectors
    assert found is not None
    least = f"; at least {100 * report.tolerance.agreement:.1f} % asked for"
    return [
        ("held-out cells", f"{found.cells:,}"),
        ("cosine of a cell's vectors, mean", f"{found.cosine.value:.5f}; {LEAST_COSINE} asked for"),
        ("the smallest", f"{found.least_cosine:.5f}"),
        ("golden texts", f"{found.texts:,}"),
        ("same best text", percent(found.same_best_text) + least),
        ("difference of a score, mean", f"{found.score_difference:.3g}"),
        (f"same among the {FOUND} best of a text", f"{100 * found.same_found:.1f} %"),
    ]


def _attempts(attempts: Sequence[Attempt]) -> Rows:
    rows = []
    for attempt in attempts:
        figures = []
        if attempt.token_agreement is not None:
            figures.append(f"agreement {100 * attempt.token_agreement:.2f} %")
        if attempt.cosine is not None:
            figures.append(f"cosine {attempt.cosine:.5f}")
        if attempt.accuracy is not None:
            figures.append(f"accuracy {100 * attempt.accuracy:.2f} %")
        figures.append("; ".join(attempt.failures) or "passed")
        rows.append((f"{attempt.left_out} linear layers left out", ", ".join(figures)))
    return rows


def _kernels(kernels: KernelReport) -> str:
    counts = Counter(kernels.kernels.values())
    text = ", ".join(f"{count} {kernel}" for kernel, count in sorted(counts.items()))
    if kernels.float32:
        text += f"; not integer: {', '.join(kernels.float32)}"
    return text or "no quantised linear layer"


def _details(report: CalibrationReport) -> Rows:
    smoothed = sum(linear.strength > 0 for linear in report.linears)
    rows = [
        ("c2t", report.c2t_version),
        ("size", f"{report.bytes / report.source_bytes:.3f} of {report.source_bytes:,} bytes"),
        ("thresholds", report.estimator),
        ("smoothed linear layers", f"{smoothed} of {len(report.linears)}"),
        ("seed", str(report.seed)),
        ("all figures", REPORT_NAME),
    ]
    if report.seconds:  # none are kept where a run must be repeatable
        rows[-1:-1] = [
            ("time", ", ".join(f"{stage} {s:.1f} s" for stage, s in report.seconds.items())),
            ("most memory", f"{report.peak_memory_bytes / 1e9:.2f} GB"),
        ]
    if report.float_prefix is not None:
        rows.insert(-1, ("outside INT8", report.float_prefix.sentence))
    return rows if report.reduced is None else [*rows, ("reduced", report.reduced)]
