"""Numbers of things in messages for people."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 cell", "2,000 cells"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
