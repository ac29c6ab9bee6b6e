"""The report as a page to print, to fill in and to sign.

One decision: no template library, so that an instrument's lean install can write it. All that comes
from outside goes through `html.escape`; the page has no script, and needs no other file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from c2t.runtime.qualify.report import Report
from c2t.runtime.system.text_tables import gigabytes, visible

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body { font: 11pt/1.4 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em;
  color: #111; background: #fff; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 1.6em; }
table { border-collapse: collapse; width: 100%; font-size: 0.9em; }
th, td { border: 1px solid #999; padding: 0.25em 0.5em; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { background: #eee; } .facts th { width: 14em; }
thead th, .pass, .fail, .not-done { overflow-wrap: normal; }
.fail { font-weight: bold; color: #a00; } .not-done { font-style: italic; }
.hash { font-family: monospace; font-size: 0.85em; }
.sign td { height: 2.6em; }
@media print {
  body { margin: 0; max-width: none; font-size: 9pt; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2 { break-after: avoid; }
  th { background: none; } a { color: inherit; }
}
@page { size: A4; margin: 18mm 15mm; }
"""


def make_page(report: Report, *, sha256: str, json_name: str) -> str:
    """The whole page.

    Args:
        report: What it shows.
        sha256: Of the report's JSON, which it is bound to by this.
        json_name: That file's name.
    """
    result = "all checks that were done passed" if report.result == "pass" else "FAILED"
    counts = f"{len(report.checks)} checks, {len(report.failed)} failed"
    counts += f", {len(report.not_done)} not done"
    parts = [
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>Qualification report, {_text(report.made)}</title>",
        f"<style>{STYLE}</style></head><body>",
        "<h1>Installation and operational qualification</h1>",
        f"<p>Result: <strong class='{_class(report.result)}'>{result}</strong>: {counts}.</p>",
    ]
    for title, names in (("Failed", report.failed), ("Not done", report.not_done)):
        if names:
            parts.append(f"<p>{title}: {_text(', '.join(names))}.</p>")
    parts += [
        f"<p><strong>Intended use.</strong> {_text(report.intended_use)}</p>",
        _facts("What, where, who", _who(report)),
        _facts("This report", _itself(report, sha256, json_name)),
        _facts("Installation", _installation(report)),
        _facts("Settings", report.settings.items()),
    ]
    for part, title in (("IQ", "Installation qualification"), ("OQ", "Operational qualification")):
        rows = [
            (check.name, check.expected, check.actual, check.outcome)
            for check in report.checks
            if check.part == part
        ]
        parts.append(_table(title, ("Check", "Expected", "Actual", "Outcome"), rows))
    golden = [
        (str(g.cell), g.expected, "the same" if g.right else g.actual, _outcome(g.right))
        for g in report.golden
    ]
    parts.append(_table("Golden texts", ("Cell", "Expected", "Actual", "Outcome"), golden))
    files = [
        (f.name, f.expected or "", f.found or "", _outcome(f.right)) for f in report.bundle_files
    ]
    head = ("File", "Expected SHA-256", "Found", "Outcome")
    parts.append(_table("Files of the bundle", head, files, hashes=True))
    parts += [_packages(report, json_name), _signatures(report), "</body></html>\n"]
    return "\n".join(parts)


def _who(report: Report) -> Iterable[tuple[str, str]]:
    return (
        ("System", report.system),
        ("System ID", report.system_id),
        ("Site", report.site),
        ("Performed by", report.performer),
        ("Performed at (UTC)", report.made),
        ("Reviewer", report.reviewer),
    )


def _itself(report: Report, sha256: str, json_name: str) -> Iterable[tuple[str, str]]:
    sbom = report.sbom
    return (
        (f"SHA-256 of {json_name}", sha256),
        ("Software bill of materials", f"{sbom.file}, SHA-256 {sbom.sha256}" if sbom else "none"),
        ("To check the files", "sha256sum -c SHA256SUMS"),
    )


def _installation(report: Report) -> Iterable[tuple[str, str]]:
    machine, bundle = report.machine, report.bundle
    gpus = ", ".join(f"{gpu.name}, {gpu.sm}, {gigabytes(gpu.memory_bytes)}" for gpu in machine.gpus)
    driver = report.driver or "none"
    if machine.cuda_driver:
        driver += f", CUDA {machine.cuda_driver}"
    return (
        ("c2t", report.c2t),
        ("Python", report.python),
        ("Operating system", machine.system),
        ("Processor", f"{machine.cpu}, {machine.cores} cores; {', '.join(machine.cpu_features)}"),
        ("Memory", gigabytes(machine.memory_bytes)),
        ("GPU", gpus or machine.gpu_problem),
        ("NVIDIA driver", driver),
        ("Kernels", report.kernels),
        ("Engine", report.engine or "none ran"),
        ("Bundle", f"{bundle.name}, {bundle.precision}" if bundle.name else "could not be used"),
        ("Bundle's folder", bundle.path),
        ("Bundle's digest", bundle.digest),
        ("Bundle signed with", bundle.signed_by or "no key was asked for"),
    )


def _packages(report: Report, json_name: str) -> str:
    rows = []
    for package in report.packages:
        right = sum(file.right for file in package.files)
        faults = "; ".join(package.faults[:20]) or "none"
        rows.append(
            (
                package.name,
                package.version,
                f"{right:,} of {len(package.files):,}",
                faults,
                _outcome(not package.faults),
            )
        )
    head = ("Package", "Version", "Files as in RECORD", "Faults", "Outcome")
    note = f"<p>Each file with its expected and its found hash is in {_text(json_name)}. Compiled "
    note += "copies in __pycache__, which Python makes itself, are in no RECORD.</p>"
    return _table("Packages", head, rows) + note


def _signatures(report: Report) -> str:
    rows = [
        ("Performed by", report.performer, "", ""),
        ("Reviewed by", report.reviewer, "", ""),
        ("Approved by", "", "", ""),
    ]
    return _table("Signatures", ("", "Name", "Signature", "Date"), rows, kind="sign")


def _facts(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(
        f"<tr><th scope='row'>{_text(name)}</th><td>{_text(value) or '&nbsp;'}</td></tr>\n"
        for name, value in rows
    )
    return f"<h2>{_text(title)}</h2>\n<table class='facts'>\n{lines}</table>"


def _table(
    title: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    hashes: bool = False,
    kind: str = "",
) -> str:
    heads = "".join(f"<th scope='col'>{_text(name)}</th>" for name in head)
    body = []
    for row in rows:
        cells = []
        for place, value in enumerate(row):
            of = _class(value) if place == len(row) - 1 else "hash" if hashes and place else ""
            start = f"<td class='{of}'>" if of else "<td>"
            cells.append(f"{start}{_text(value)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    attribute = f" class='{kind}'" if kind else ""
    start = f"<h2>{_text(title)}</h2>\n<table{attribute}><thead><tr>{heads}</tr></thead><tbody>\n"
    return start + "\n".join(body) + "\n</tbody></table>"


def _outcome(right: bool) -> str:
    return "pass" if right else "fail"


def _class(outcome: str) -> str:
    """Only our own three words become a class."""
    return outcome.replace(" ", "-") if outcome in ("pass", "fail", "not done") else ""


def _text(value: str) -> str:
    return escape(visible(value), quote=True)
