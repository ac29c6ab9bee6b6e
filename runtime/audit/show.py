"""An audit trail for people: a line for each, with what matters of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from c2t.runtime.audit.line import LINE_BYTES_MAX, Line, read_line
from c2t.runtime.system.errors import AuditError
from c2t.runtime.system.text_tables import visible

DIGITS = 12  # of a hash
_HASHES = ("bundle", "signer", "input sha256", "text sha256")
_LAST = ("settings", "changes", "outputs")


def show_trail(path: Path) -> Iterator[str]:
    """The lines of a trail as text, one after another. Nothing is checked.

    Raises:
        AuditError: The file cannot be read, or a line of it is no line of a trail.
    """
    hint = "see what is wrong with `c2t audit check`"
    try:
        with path.open("rb") as stream:
            for number, content in enumerate(
                iter(lambda: stream.readline(LINE_BYTES_MAX + 1), b""), start=1
            ):
                line = read_line(content)
                if line is None:
                    problem = f"{path}, line {number:,}, is not a line of an audit trail"
                    raise AuditError(problem, hint=hint)
                yield visible(_text(line)).replace("\n", " ")
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror}"
        raise AuditError(problem, hint="name the file of an audit trail") from error


def _text(line: Line) -> str:
    who = f"{line.who.user}@{line.who.host}"
    if line.who.asked_by:
        who = f"{line.who.asked_by} (by {who})"
    details = {name: value for name, value in line.details.items() if name != "scope"}
    if details.get("changes"):
        details.pop("settings", None)  # most are as they were
    scope = line.details.get("scope") or "-"
    parts = [_part(name, value) for name, value in details.items() if name not in _LAST]
    parts += [_part(name, details[name]) for name in _LAST if name in details]
    time = line.time.partition(".")[0].replace("T", " ") + "Z"
    return f"{line.seq:>6}  {time}  {who}  {scope} {line.action}  {', '.join(parts)}".rstrip()


def _part(name: str, value: Any) -> str:
    name = name.replace("_", " ")
    if name in _HASHES:
        return f"{name} {str(value)[:DIGITS]}"
    if name == "changes" and isinstance(value, dict):
        return "changes: " + "; ".join(_change(setting, of) for setting, of in value.items())
    if isinstance(value, dict):
        pairs = (f"{key} = {str(of)[:64]}" for key, of in value.items())
        return f"{name}: {'; '.join(pairs)}"
    return f"{name} {value}"


def _change(setting: str, change: Any) -> str:
    if not isinstance(change, dict):
        return f"{setting}: {change}"
    before, after = (
        "none" if value is None else str(value)[:64]
        for value in (change.get("previous"), change.get("new"))
    )
    return f"{setting}: {before} -> {after}"
