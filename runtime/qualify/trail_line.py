"""What an audit trail is told about a report."""

from __future__ import annotations

from pathlib import Path

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.qualify.write import Written


def record_report(trail: AuditTrail, path: Path, written: Written) -> None:
    """Append a line with the report's hash and result.

    Raises:
        AuditError: The trail takes no line.
    """
    report = written.made.report
    found = written.made.verification
    failed = f"{len(report.failed)} of {len(report.checks)} checks failed"
    details = Details(
        scope="verify",
        input=report.bundle.path,
        bundle=report.bundle.digest,
        signer=report.bundle.signed_by,
        engine=report.engine,
        cells=None if found is None else found.cells,
        failed=None if found is None else len(found.differences),
        outputs={str(path): written.sha256},
        result=f"qualification: {report.result}; {failed}, {len(report.not_done)} not done",
        problem=", ".join(report.failed)[:2000],
    )
    trail.record(Action.verify, details)
