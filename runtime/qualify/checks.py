"""A check of a qualification: what was expected, what was found, and whether that is right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Part = Literal["IQ", "OQ"]
Outcome = Literal["pass", "fail", "not done"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        part: "IQ", installation, or "OQ", operation.
        name: What is checked.
        expected: What must be found.
        actual: What was found; or why it was not done.
        outcome: A check that was not done is no pass, and no failure either.
    """

    part: Part
    name: str
    expected: str
    actual: str
    outcome: Outcome


def judged(part: Part, name: str, *, expected: str, actual: str, passed: bool) -> Check:
    """A check that was done."""
    return Check(
        part=part,
        name=name,
        expected=expected,
        actual=actual,
        outcome="pass" if passed else "fail",
    )


def shortened(names: Iterable[str], most: int = 20) -> str:
    """Names in one sentence, not all of very many; the report's JSON has them all."""
    listed = list(names)
    more = f", and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
