"""`c2t evaluate --questions`: published questions in, accuracy by task out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from c2t.calibration.questions.ask_questions import QuestionAsker, check_bundle
from c2t.calibration.questions.question_file import read_questions
from c2t.calibration.results.questions import AskedQuestion, QuestionScores, TaskScore
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.system.errors import EvaluationError
from c2t.runtime.system.progress import progress_bar


def evaluate_questions(
    bundle: Bundle,
    path: Path,
    options: DescribeOptions,
    *,
    limit: int | None = None,
    report: Callable[[str], None] = lambda sentence: None,
) -> tuple[QuestionScores, list[AskedQuestion]]:
    """Ask a bundle the questions of a file.

    Args:
        bundle: Reads gene sentences.
        path: See `c2t.calibration.questions.question_file`.
        options: Engine, threads and batch.
        limit: Only the first questions.
        report: Told what was found out, a sentence at a time.

    Raises:
        EvaluationError: A file of another form, a bundle that cannot be asked, or none of the
            questions could be asked.
        EngineError: No engine runs here.
    """
    check_bundle(bundle)
    questions = read_questions(path)[:limit]
    report(f"{len(questions):,} questions of {path.name}")
    asker = QuestionAsker(bundle, options)
    since = time.monotonic()
    with progress_bar("asking", len(questions), unit="questions") as advance:
        asked = list(asker.ask(questions, advance=advance))
    bundle.check_unchanged()
    scores = QuestionScores(
        bundle=bundle.manifest.name,
        digest=bundle.digest,
        precision=bundle.manifest.precision,
        engine=asker.engine,
        file=path.name,
        file_sha256=sha256_of(path),
        tasks=task_scores(asked),
        seconds=round(time.monotonic() - since, 3),
    )
    if not any(task.asked for task in scores.tasks):
        (why, _), *_ = Counter(each.error for each in asked).most_common(1)
        problem = f"none of the {len(asked):,} questions could be asked: {why}"
        raise EvaluationError(problem, hint="choose others, or another bundle")
    return scores, asked


def task_scores(asked: Sequence[AskedQuestion]) -> tuple[TaskScore, ...]:
    """The figures of each task, in the order in which they come first."""
    return tuple(
        _score(task, [each for each in asked if each.task == task])
        for task in dict.fromkeys(each.task for each in asked)
    )


def _score(task: str, asked: Sequence[AskedQuestion]) -> TaskScore:
    done = [each for each in asked if each.error is None]
    right = sum(each.answer == each.right for each in done)
    return TaskScore(
        task=task,
        questions=len(asked),
        asked=len(done),
        right=right,
        accuracy=right / len(done) if done else None,
        chance=_mean([1 / each.options for each in done]),
        probability=_mean([each.probability for each in done if each.probability is not None]),
        mass=_mean([each.mass for each in done if each.mass is not None]),
        not_asked=dict(Counter(each.error for each in asked if each.error is not None)),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
