"""`c2t verify`: does a bundle work here as it should, and the report that says so."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c2t.runtime.command_line.auditing import AuditOptions, auditing
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    BundleArgument,
    EngineOption,
    JsonOption,
    TrustOption,
)
from c2t.runtime.command_line.run import UsageError, open_checked, print_json, say
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.errors import C2TError

if TYPE_CHECKING:
    from c2t.runtime.audit.trail import AuditTrail
    from c2t.runtime.bundle.bundle import Bundle
    from c2t.runtime.describe.verify import Verification
    from c2t.runtime.qualify.report import QualifyOptions


ENGINE_HINT = "run `c2t doctor`; the files are right, the engine is not (see `c2t help problems`)"


@takes_option_classes(without=("audit_reason",))
def verify(
    bundle: BundleArgument,
    *,
    engine: EngineOption = EngineName.auto,
    trust: TrustOption = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Qualify this installation too; write the report here."),
    ] = None,
    system: Annotated[str, typer.Option(help="For the report: the system's name.")] = "",
    system_id: Annotated[str, typer.Option(help="For the report: its number.")] = "",
    site: Annotated[str, typer.Option(help="For the report: where it stands.")] = "",
    performer: Annotated[str, typer.Option(help="For the report: who runs this.")] = "",
    reviewer: Annotated[str, typer.Option(help="For the report: who will review it.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier report.")] = False,
    audit: AuditOptions,
    json: JsonOption = False,
) -> None:
    """Check that a bundle works here as it should.

    Compares the hash of every file, and describes the bundle's golden cells again: their texts
    must be those written with the bundle. Fails if anything differs. With --report the files of
    c2t and of what it runs on are compared, too, and more is tried: a report as JSON, and as a page
    to print and sign.
    """
    from c2t.runtime.describe import verify as stage
    from c2t.runtime.engines.choose import check_engine_name

    place = audit.place("verify", bundle)
    people = {
        "system": system,
        "system_id": system_id,
        "site": site,
        "performer": performer,
        "reviewer": reviewer,
    }
    if report is None:
        _check_report_options({**people, "force": force})
    with auditing(place) as trail:
        check_engine_name(engine.value)
        if report is not None:
            from c2t.runtime.qualify.report import QualifyOptions

            options = QualifyOptions(**people, engine=engine.value, trust=trust)
            _qualify(bundle, report, options, force=force, trail=trail, json=json)
            return
        opened = open_checked(bundle, trust, wholly=True)
        if not opened.manifest.has_decoder:
            _verify_vectors(opened, trail, json=json)
            return
        result = stage.verify_golden_cells(opened, engine.value)
        if trail is not None:
            stage.record_verification(trail, opened, result)
    _say_result(result, json=json)


def _verify_vectors(bundle: Bundle, trail: AuditTrail | None, *, json: bool) -> None:
    """Compute the golden vectors of a bundle that writes no texts.

    Raises:
        C2TError: One of them points elsewhere.
    """
    from c2t.runtime.describe import verify_vectors as stage

    result = stage.verify_golden_vectors(bundle)
    if trail is not None:
        stage.record_vectors(trail, bundle, result)
    if json:
        print_json(result)
    else:
        print(f"{result.files} files are as written (SHA-256)")
        print(f"{result.sentence} ({result.engine})")
    for difference in result.differences:
        say(difference)
    if result.differences:
        problem = f"{len(result.differences)} golden vectors point elsewhere"
        raise C2TError(problem, hint=ENGINE_HINT)


def _say_result(result: Verification, *, json: bool) -> None:
    """Say what the golden cells gave.

    Raises:
        C2TError: One of them has another text.
    """
    if json:
        print_json(result)
    else:
        print(f"{result.files} files are as written (SHA-256)")
        equal = result.cells - len(result.differences)
        print(f"{equal} of {result.cells} golden cells have the expected text ({result.engine})")
    for difference in result.differences:
        where = difference.first_token
        token = "has the expected tokens in other words" if where is None else ""
        say(f"cell {difference.cell} {token or f'differs from text token {where} on'}:")
        say(f"  expected: {difference.expected}\n  found:    {difference.found}")
    if result.differences:
        problem = f"{len(result.differences)} of {result.cells} golden cells have another text"
        raise C2TError(problem, hint=ENGINE_HINT)


def _qualify(
    bundle: Path,
    target: Path,
    options: QualifyOptions,
    *,
    force: bool,
    trail: AuditTrail | None,
    json: bool,
) -> None:
    """Write the report, and tell the trail; a trail that takes no line leaves no report either."""
    from c2t.runtime.qualify.trail_line import record_report
    from c2t.runtime.qualify.write import JSON_NAME, PAGE_NAME, write_report

    told = None if trail is None else partial(record_report, trail, target / JSON_NAME)
    written = write_report(bundle, target, options, force=force, told=told)
    report = written.made.report
    if json:
        print_json(report)
    else:
        for check in report.checks:
            print(f"{check.outcome:8}  {check.part}  {check.name}: {check.actual}")
        print(f"report: {target / PAGE_NAME}; SHA-256 of {JSON_NAME}: {written.sha256}")
    for name in report.not_done:
        say(f"note: not done: {name}")
    if report.failed:
        wrong = [f"{c.name}: {c.actual}" for c in report.checks if c.outcome == "fail"]
        problem = f"{len(wrong)} of {len(report.checks)} checks failed: {'; '.join(wrong)}"
        raise C2TError(problem, hint=f"see {target / PAGE_NAME}")


def _check_report_options(given: dict[str, str | bool]) -> None:
    """Refuse options of a report where none is written.

    Raises:
        UsageError: One of them was given.
    """
    for name, value in given.items():
        if value:
            problem = f"--{name.replace('_', '-')} is for a report"
            raise UsageError(problem, hint="name a folder for it with --report")
