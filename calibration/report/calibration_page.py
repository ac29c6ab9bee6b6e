"""A calibration as one HTML page: what it cost in quality, what is sensitive, what is integer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from c2t.calibration.report.evaluation_examples import example_section
from c2t.calibration.report.evaluation_page import comparison_parts, evaluation_parts, series_key
from c2t.calibration.report.html_elements import Markup, element
from c2t.calibration.report.report_page import page, section, table
from c2t.calibration.report.sensitivity_chart import sensitivity_chart
from c2t.calibration.report.svg_charts import percent
from c2t.calibration.results.calibration import REPORT_NAME, Attempt, CalibrationReport
from c2t.runtime.system.checked_read import json_bytes

PAGE_NAME = "calibration.html"


def write_calibration_report(folder: Path, name: str, report: CalibrationReport) -> None:
    """Write `calibration.json` and `calibration.html` into a bundle in the making."""
    (folder / REPORT_NAME).write_bytes(json_bytes(report))
    page = calibration_page(name, report)
    (folder / PAGE_NAME).write_text(page, encoding="utf-8", newline="")


def calibration_page(name: str, report: CalibrationReport) -> str:
    """The whole page."""
    title = f"{name}: {report.precision}"
    line = f"calibrated on {len(report.cells):,} cells of {report.cells_file} ({report.chosen})"
    parts = [
        element("h1", None, title),
        element("p", {"class": "sub"}, line),
        section("The gate", _gate(report), _attempts(report.attempts)),
        *_judged(report),
        section("Sensitivity", *_sensitivity(report)),
        section("What runs", table(_kernels(report))),
        section("Details", table(_details(report))),
    ]
    return page(title, *parts)


def _gate(report: CalibrationReport) -> Markup:
    found, limits = report.comparison, report.tolerance
    rows: list[tuple[str, str | Markup]] = [
        ("held-out cells", f"{found.cells:,}"),
        ("same text", percent(found.identical_texts)),
    ]
    if found.token_agreement is not None:
        least = f"; at least {100 * limits.agreement:.1f} % asked for"
        rows.append(("same tokens", percent(found.token_agreement) + least))
    if found.kl_per_token is not None:
        rows.append(("KL a token", f"{found.kl_per_token.value:.3g} nats"))
    return table(rows)


def _judged(report: CalibrationReport) -> list[Markup | str]:
    """Both bundles on the held-out cells: by their labels, where there are any, and their texts."""
    if report.evaluation is None:
        return [*comparison_parts(report.comparison), example_section(report.examples)]
    return [series_key(report.evaluation), *evaluation_parts(report.evaluation)]


def _attempts(attempts: Sequence[Attempt]) -> Markup:
    rows = []
    for attempt in attempts:
        figures = []
        if attempt.token_agreement is not None:
            figures.append(f"agreement {100 * attempt.token_agreement:.2f} %")
        if attempt.accuracy is not None:
            figures.append(f"accuracy {100 * attempt.accuracy:.2f} %")
        figures.append("; ".join(attempt.failures) or "passed")
        rows.append((f"{attempt.left_out} linears left out", ", ".join(figures)))
    return table(rows)


def _sensitivity(report: CalibrationReport) -> list[Markup]:
    remark = "Noise that quantising a linear alone makes in its output; the worst first."
    parts = [
        element("p", {"class": "remark"}, remark),
        element("div", {"class": "scroll"}, sensitivity_chart(report.sensitivity)),
    ]
    measured = [s for s in report.sensitivity if s.kl is not None]
    if measured:
        remark = "Divergence of the next token's distribution with one linear quantised, in nats."
        rows = [(f"{s.graph} {s.linear}", f"{s.kl:.3g}") for s in measured]
        parts += [element("p", {"class": "remark"}, remark), table(rows)]
    left_out = ", ".join(report.left_out) or "none"
    return [*parts, element("p", None, f"Left in float32: {left_out}")]


def _kernels(report: CalibrationReport) -> list[tuple[str, str]]:
    rows = []
    for found in report.kernels:
        counts = {kernel: 0 for kernel in sorted(set(found.kernels.values()))}
        for kernel in found.kernels.values():
            counts[kernel] += 1
        text = ", ".join(f"{count} {kernel}" for kernel, count in counts.items())
        if found.float32:
            text += f"; not integer: {', '.join(found.float32)}"
        rows.append((found.graph, text or "no quantised linear"))
    return rows


def _details(report: CalibrationReport) -> list[tuple[str, str]]:
    smoothed = sum(linear.strength > 0 for linear in report.linears)
    rows = [
        ("c2t", report.c2t_version),
        ("size", f"{report.bytes / report.source_bytes:.3f} of {report.source_bytes:,} bytes"),
        ("thresholds", report.estimator),
        ("smoothed linears", f"{smoothed} of {len(report.linears)}"),
        ("seed", str(report.seed)),
        ("time", ", ".join(f"{stage} {s:.1f} s" for stage, s in report.seconds.items())),
        ("most memory", f"{report.peak_memory_bytes / 1e9:.2f} GB"),
        ("all figures", REPORT_NAME),
    ]
    return rows if report.reduced is None else [*rows, ("reduced", report.reduced)]
