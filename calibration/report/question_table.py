"""The figures of published questions, for a terminal."""

from __future__ import annotations

from c2t.calibration.results.questions import QuestionScores, TaskScore
from c2t.runtime.system.text_tables import table

HEAD = ("task", "questions", "asked", "right", "at random", "mass of the options")


def questions_text(scores: QuestionScores) -> str:
    """A line for each task, and why some questions were not asked."""
    lines = [
        f"{sum(task.questions for task in scores.tasks):,} questions of {scores.file}",
        f"asked: {scores.bundle} ({scores.precision})",
        "",
        table(HEAD, [task_row(task) for task in scores.tasks]).rstrip("\n"),
        *not_asked(scores),
    ]
    return "\n".join(lines) + "\n"


def task_row(task: TaskScore) -> tuple[str, ...]:
    """The cells of a task's line."""
    return (
        task.task,
        f"{task.questions:,}",
        f"{task.asked:,}",
        _share(task.accuracy),
        _share(task.chance),
        _share(task.mass),
    )


def not_asked(scores: QuestionScores) -> list[str]:
    """Why some questions were not asked, a sentence each."""
    return [
        f"{count:,} of {task.task} not asked: {why}"
        for task in scores.tasks
        for why, count in task.not_asked.items()
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
