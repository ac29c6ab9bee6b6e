"""The figures of published questions that a bundle was asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """What came of one question.

    Args:
        task: Its kind.
        options: How many there were.
        right: The right one.
        answer: The most probable one; None where there is an error.
        probability: Of the answer among the options.
        mass: Probability of all options together.
        error: Why it was not asked.
    """

    task: str
    options: int
    right: str
    answer: str | None
    probability: float | None
    mass: float | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """The questions of one task.

    Args:
        task: Its name.
        questions: How many there are.
        asked: How many of them the bundle could be asked.
        right: How many of those it answered rightly.
        accuracy: right / asked; None where none was asked. 0 to 1.
        chance: Accuracy of choosing an option at random, over the asked ones.
        probability: Mean probability of the answers among their options.
        mass: Mean probability of all options together: little says that the model would have said
            something else.
        not_asked: Why the others were not, with how many each.
    """

    task: str
    questions: int
    asked: int
    right: int
    accuracy: float | None
    chance: float | None
    probability: float | None
    mass: float | None
    not_asked: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class QuestionScores:
    """The figures of a file of questions.

    Args:
        bundle: Name of the bundle.
        digest: SHA-256 of its manifest.
        precision: Of its weights.
        engine: What ran it.
        file: Name of the questions' file.
        file_sha256: Of its content.
        tasks: In the order in which they come first.
        seconds: Time of asking.
    """

    bundle: str
    digest: str
    precision: str
    engine: str
    file: str
    file_sha256: str
    tasks: tuple[TaskScore, ...]
    seconds: float
