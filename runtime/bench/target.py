"""Figures against what they are to reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Target:
    """A figure and what it must reach; larger is better."""

    what: str
    value: float
    target: float
    reached: bool


def target(what: str, value: float, least: float) -> Target:
    """Hold a figure against its target."""
    return Target(what=what, value=value, target=least, reached=value >= least)


def target_lines(targets: list[Target]) -> list[str]:
    """A line for people for each."""
    return [
        f"{'reached' if t.reached else 'MISSED '}  {t.what}: {t.value:.3g}, target {t.target:g}"
        for t in targets
    ]
