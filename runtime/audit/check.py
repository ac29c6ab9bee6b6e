"""Is an audit trail as it was written? If not, which lines were changed, removed, moved or added.

One decision: the verdict and the explanation are two things. The verdict is strict: every line in
its place, right, and linked to the one before, up to the last that the head knows. Lines are then
compared one by one to say what happened.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from c2t.runtime.audit.head import HEAD_HINT, Head, read_head
from c2t.runtime.audit.key import AuditKey, read_key
from c2t.runtime.audit.line import (
    LINE_BYTES_MAX,
    Line,
    could_begin,
    key_named,
    mac_of,
    read_line,
)
from c2t.runtime.audit.lock import locked
from c2t.runtime.audit.place import default_head, default_key
from c2t.runtime.system.errors import AuditError


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is not as it was written.

    Attributes:
        line: Number of the line, as it was written or, of one that was added, in the file.
        kind: "changed", "removed", "moved", "added" or "cut off".
        problem: A sentence.
    """

    line: int
    kind: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class AuditCheck:
    """The result of `c2t audit check`.

    Attributes:
        lines: Lines of the file.
        known: Lines that the head knows.
        faults: What is not as it was written; none: all is.
        notes: What a crash leaves, which is no fault.
        first: Time of the first line.
        last: Time of the last line.
    """

    trail: str
    head: str
    lines: int
    known: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A line of the file."""

    place: int  # in the file, from 1
    mac: str | None  # None: not as a holder of the key wrote it
    line: Line | None
    key: str


@dataclass
class _Lines:
    """All lines of a file, without their contents, and what follows the last newline."""

    seen: list[_Seen] = field(default_factory=list)
    rest: bytes = b""


def check_trail(path: Path, *, key: Path | None = None, head: Path | None = None) -> AuditCheck:
    """Check a trail. It may be in use: what is appended meanwhile is left out.

    Args:
        path: The file.
        key: Its key; None: the user's own.
        head: Its head; None: that in the user's state directory.

    Raises:
        AuditError: The trail, its key or its head cannot be read, or the head has another key.
    """
    secret = read_key(key or default_key())
    place = head or default_head(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        return _gone(path, place, read_head(place, secret))
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror}"
        raise AuditError(problem, hint="name the file of an audit trail") from error
    try:
        with locked(handle, path, shared=True):
            if not os.path.lexists(place):
                problem = f"{path} has no head at {place}"
                raise AuditError(problem, hint=HEAD_HINT)
            known, size = read_head(place, secret), os.fstat(handle).st_size
        lines = _read(handle, size, secret)
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror}"
        raise AuditError(problem, hint="name the file of an audit trail") from error
    finally:
        os.close(handle)
    faults, notes = _judge(lines, known)
    times = [seen.line.time for seen in lines.seen if seen.mac and seen.line]
    return AuditCheck(
        trail=str(path),
        head=str(place),
        lines=len(lines.seen),
        known=known.count,
        faults=tuple(faults),
        notes=tuple(notes),
        first=times[0] if times else "",
        last=times[-1] if times else "",
    )


def _gone(path: Path, place: Path, head: Head) -> AuditCheck:
    fault = Fault(line=1, kind="cut off", problem=f"{path} is not there")
    return AuditCheck(
        trail=str(path),
        head=str(place),
        lines=0,
        known=head.count,
        faults=(fault,),
        notes=(),
        first="",
        last="",
    )


def _read(handle: int, size: int, key: AuditKey) -> _Lines:
    """Read the first `size` bytes of a file, line by line."""
    lines = _Lines()
    with os.fdopen(os.dup(handle), "rb") as stream:
        while size > 0 and (content := stream.readline(min(size, LINE_BYTES_MAX + 1))):
            size -= len(content)
            if not content.endswith(b"\n") and size <= 0:
                lines.rest = content
                break
            lines.seen.append(
                _Seen(
                    place=len(lines.seen) + 1,
                    mac=mac_of(content, key),
                    line=read_line(content),
                    key=key_named(content),
                )
            )
    return lines


def _judge(lines: _Lines, head: Head) -> tuple[list[Fault], list[str]]:
    notes = []
    seen, rest = lines.seen, lines.rest
    follows, last = _followed(seen, head)
    if follows == head.count and last == head.last and len(seen) <= head.count + 1:
        if len(seen) == head.count and (
            not rest or could_begin(rest, seq=head.count + 1, previous=head.last)
        ):
            if rest:
                notes.append(
                    f"{len(rest):,} bytes follow line {head.count:,}: the beginning of a line, "
                    "which a crash left; it was not acknowledged"
                )
            return [], notes
        if len(seen) == head.count + 1 and not rest and _is_next(seen[-1], head.count + 1, last):
            notes.append(
                f"line {head.count + 1:,} is right and not in the head: a crash came between the "
                "two; it was not acknowledged"
            )
            return [], notes
    faults = sorted(_explain(seen, rest, head), key=lambda fault: fault.line)
    if not faults:
        problem = "the lines are not those that the head knows"
        faults = [Fault(line=follows + 1, kind="changed", problem=problem)]
    return faults, notes


def _followed(seen: list[_Seen], head: Head) -> tuple[int, str]:
    """How many lines from the first on are right, up to the head's count; and the last's code."""
    last = head.log
    for number, line in enumerate(seen[: head.count], start=1):
        if not _is_next(line, number, last):
            return number - 1, last
        last = line.mac or ""
    return min(len(seen), head.count), last


def _is_next(seen: _Seen, number: int, last: str) -> bool:
    line = seen.line
    return seen.mac is not None and line is not None and (line.seq, line.previous) == (number, last)


def _explain(seen: list[_Seen], rest: bytes, head: Head) -> Iterator[Fault]:
    """What happened to lines, as far as one can say."""
    right = {s.line.seq: s for s in reversed(seen) if s.mac is not None and s.line is not None}
    missing = set(range(1, head.count + 1)) - right.keys()
    in_order = _longest_rise([s.line.seq for s in seen if s.line and right.get(s.line.seq) is s])
    before = 0
    for s in seen:
        if s.mac is None or s.line is None:
            yield _bad(s, before + 1, missing)
            before += 1
            continue
        before = number = s.line.seq
        if right[number] is not s:
            yield Fault(line=number, kind="added", problem=f"line {number:,} stands there twice")
        elif number > head.count:
            problem = f"line {number:,} is not in the head, which knows {head.count:,}"
            yield Fault(line=number, kind="added", problem=problem)
        elif number not in in_order:
            problem = f"line {number:,} stands in another place, as line {s.place:,} of the file"
            yield Fault(line=number, kind="moved", problem=problem)
        elif number == head.count and s.mac != head.last:
            problem = f"line {number:,} is another than the head knows"
            yield Fault(line=number, kind="changed", problem=problem)
        elif (one := right.get(number - 1)) is not None and s.line.previous != one.mac:
            problem = f"line {number:,} was written after another line than line {number - 1:,}"
            yield Fault(line=number, kind="changed", problem=problem)
    for first, last in _runs(sorted(missing)):
        what = f"line {first:,} is" if first == last else f"lines {first:,} to {last:,} are"
        if last == head.count:
            yield Fault(line=first, kind="cut off", problem=f"{what} cut off from the end")
        else:
            yield Fault(line=first, kind="removed", problem=f"{what} not there")
    if rest:
        problem = f"{len(rest):,} bytes follow the last line that ends"
        yield Fault(line=len(seen) + 1, kind="added", problem=problem)


def _bad(seen: _Seen, expected: int, missing: set[int]) -> Fault:
    """A line that no holder of the key wrote as it is; it may stand for one that is missing."""
    stated = seen.line.seq if seen.line is not None else 0
    number = next((n for n in (stated, expected) if n in missing), 0)
    missing.discard(number)
    of = f" (the key it names: {seen.key})" if seen.key else ""
    how = f"was changed, or written with another key{of}"
    if number:
        return Fault(line=number, kind="changed", problem=f"line {number:,} {how}")
    problem = f"line {seen.place:,} of the file was added: it {how}"
    return Fault(line=seen.place, kind="added", problem=problem)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of numbers."""
    for at, number in enumerate(numbers):
        if at == 0 or numbers[at - 1] != number - 1:
            first = number
        if at + 1 == len(numbers) or numbers[at + 1] != number + 1:
            yield first, number


def _longest_rise(numbers: list[int]) -> set[int]:
    """The most of these numbers that rise from one to the next; the others were moved."""
    ends: list[int] = []  # the lowest end of a rise of each length
    places: list[int] = []
    before: list[int | None] = []
    for place, number in enumerate(numbers):
        length = bisect.bisect_left(ends, number)
        before.append(places[length - 1] if length else None)
        ends[length : length + 1] = [number]
        places[length : length + 1] = [place]
    rise = set()
    at = places[-1] if places else None
    while at is not None:
        rise.add(numbers[at])
        at = before[at]
    return rise
