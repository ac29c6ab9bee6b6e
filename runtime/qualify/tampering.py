"""OQ: an audit trail of this installation finds what is done to it without its key."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from c2t.runtime.audit.check import check_trail
from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.qualify.checks import Check, judged
from c2t.runtime.system.errors import C2TError

LINES = 6
Lines = list[bytes]


def _change(lines: Lines) -> Lines:
    return [*lines[:2], lines[2].replace(b'"cells":2', b'"cells":9'), *lines[3:]]


def _remove(lines: Lines) -> Lines:
    return lines[:2] + lines[3:]


def _reorder(lines: Lines) -> Lines:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def _cut(lines: Lines) -> Lines:
    return lines[:-1]


WAYS: tuple[tuple[str, Callable[[Lines], Lines]], ...] = (
    ("a changed line", _change),
    ("a removed line", _remove),
    ("two lines in another order", _reorder),
    ("a cut-off end", _cut),
)


def check_tampering(folder: Path) -> list[Check]:
    """Write a trail, and tamper with it in every way.

    Args:
        folder: An empty one, for the trail, a key of its own and its head.
    """
    trail, key, head = folder / "trail.jsonl", folder / "key", folder / "head"
    key.write_text(secrets.token_hex(32), encoding="ascii", newline="")
    try:
        _write(trail, key, head)
        faults = [fault.problem for fault in check_trail(trail, key=key, head=head).faults]
    except C2TError as error:
        faults = [error.problem]
    checks = [
        judged(
            "OQ",
            "audit trail as it was written",
            expected=f"{LINES} lines, nothing found",
            actual=f"found: {faults[0]}" if faults else f"{LINES} lines, nothing found",
            passed=not faults,
        )
    ]
    if faults:
        return checks
    whole = trail.read_bytes()
    ways = {name: b"".join(way(whole.splitlines(keepends=True))) for name, way in WAYS}
    other = folder / "other"
    other.mkdir()
    (other / "key").write_text(secrets.token_hex(32), encoding="ascii", newline="")
    _write(other / "trail.jsonl", other / "key", other / "head")
    ways["a line by another key"] = (
        whole + (other / "trail.jsonl").read_bytes().splitlines(True)[-1]
    )
    for name, content in ways.items():
        trail.write_bytes(content)
        found = check_trail(trail, key=key, head=head).faults if content != whole else ()
        checks.append(
            judged(
                "OQ",
                f"audit trail with {name}",
                expected="found",
                actual=f"found: {found[0].problem}" if found else "not found",
                passed=bool(found),
            )
        )
    return checks


def _write(trail: Path, key: Path, head: Path) -> None:
    with AuditTrail.open(trail, key=key, head=head) as opened:
        for number in range(LINES):
            opened.record(Action.chunk, Details(scope="qualification", cells=number))
