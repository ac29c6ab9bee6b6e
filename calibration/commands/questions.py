"""`c2t evaluate --questions`: a bundle is asked a file of questions, and the figures are shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.command_line.run import hash_progress, import_stage, print_json, say
from c2t.runtime.describe.describer import DescribeOptions


@dataclass(frozen=True, kw_only=True)
class QuestionRun:
    """What to ask and where to write.

    Args:
        bundle: Its folder.
        questions: File of questions.
        output: Folder for the report; None: figures are only shown.
        trust: See `c2t.runtime.bundle.bundle.open_bundle`.
        limit: Only the first questions.
        force: Replace what is there.
        json: Print figures as JSON.
        describing: Engine, threads and batch.
    """

    bundle: Path
    questions: Path
    output: Path | None
    trust: Path | None
    limit: int | None
    force: bool
    json: bool
    describing: DescribeOptions


def run_questions(run: QuestionRun) -> None:
    """Ask, and show or write the figures.

    Raises:
        C2TError: A bundle or file that cannot be used, or a place that cannot be written.
    """
    from c2t.calibration.questions.evaluate_questions import evaluate_questions
    from c2t.calibration.report.question_table import questions_text
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.describe.describer import check_options

    writer = None
    if run.output is not None:
        writer = import_stage("c2t.calibration.report.question_report", extra="evaluate")
        writer.check_report_target(run.output, force=run.force)
    bundle = open_bundle(run.bundle, verify=False, trust=run.trust)
    check_options(bundle, run.describing)
    with hash_progress(bundle.bytes) as advance:
        bundle.check_hashes(progress=advance)
    scores, asked = evaluate_questions(
        bundle, run.questions, run.describing, limit=run.limit, report=say
    )
    if run.json:
        print_json(scores)
    else:
        print(questions_text(scores), end="", flush=True)
    if writer is not None:
        writer.write_report(run.output, scores, asked, force=run.force)
        say(f"wrote {run.output}; look at {run.output / writer.PAGE}")
