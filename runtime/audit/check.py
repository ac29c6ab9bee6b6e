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
from itertools import islice
from pathlib import Path

from c2t.runtime.audit.head import HEAD_HINT, Head, read_head
from c2t.runtime.audit.key import AuditKey, read_key
from c2t.runtime.audit.line import (
    LINE_BYTES_MAX,
    could_begin,
    key_named,
    mac_of,
    read_line,
)
from c2t.runtime.audit.lock import locked
from c2t.runtime.audit.place import default_head, default_key
from c2t.runtime.system.errors import AuditError
from c2t.runtime.system.portable.open_flags import BINARY, NO_WAIT


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What is kept of a line of the file; a trail may have millions."""

    place: int  # in the file, from 1
    mac: str | None  # None: not as a holder of the key wrote it
    seq: int = 0
    previous: str = ""
    time: str = ""
    key: str = ""  # that it names


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
    try:
        handle = os.open(path, os.O_RDONLY | NO_WAIT | BINARY)
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
        walk = _walk(handle, size, secret, known)
        if walk.is_whole:
            lines, faults, notes = walk.lines, [], walk.notes
            first, last = walk.first, walk.last
        else:
            seen, rest = _look_at_all(handle, size, secret)
            lines, faults, notes = len(seen), _faults(seen, rest, known), []
            times = [s.time for s in seen if s.mac is not None]
            first, last = (times[0], times[-1]) if times else ("", "")
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror}"
        raise AuditError(problem, hint="name the file of an audit trail") from error
    finally:
        os.close(handle)
    return AuditCheck(
        trail=str(path),
        head=str(place),
        lines=lines,
        known=known.count,
        faults=tuple(faults),
        notes=tuple(notes),
        first=first,
        last=last,
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


def _pieces(handle: int, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file, in lines; none is longer than a line may be."""
    os.lseek(handle, 0, os.SEEK_SET)
    with os.fdopen(os.dup(handle), "rb") as stream:
        while size > 0 and (piece := stream.readline(min(size, LINE_BYTES_MAX + 1))):
            size -= len(piece)
            yield piece


def _look(piece: bytes, place: int, key: AuditKey) -> _Seen:
    line, mac = read_line(piece), mac_of(piece, key)
    if line is None:
        return _Seen(place=place, mac=None, key=key_named(piece))
    return _Seen(
        place=place,
        mac=mac,
        seq=line.seq,
        previous=line.previous,
        time=line.time,
        key="" if mac else key_named(piece),
    )


@dataclass
class _Walk:
    """The strict verdict, and what was seen on the way to it."""

    is_whole: bool = False
    lines: int = 0
    notes: list[str] = field(default_factory=list)
    first: str = ""
    last: str = ""

    def step(self, seen: _Seen) -> None:
        self.lines += 1
        self.first = self.first or seen.time
        self.last = seen.time


def _walk(handle: int, size: int, key: AuditKey, head: Head) -> _Walk:
    """Follow the lines up to the last that the head knows, and one that a crash left."""
    walk, last = _Walk(), head.log
    pieces = _pieces(handle, size)
    for piece in islice(pieces, head.count):
        seen = _look(piece, walk.lines + 1, key)
        if seen.mac is None or (seen.seq, seen.previous) != (walk.lines + 1, last):
            return walk
        walk.step(seen)
        last = seen.mac
    extra = list(islice(pieces, 2))
    if (walk.lines, last) != (head.count, head.last) or len(extra) > 1:
        return walk
    if extra:
        seen = _look(extra[0], head.count + 1, key)
        if seen.mac is not None and (seen.seq, seen.previous) == (head.count + 1, last):
            walk.step(seen)
            walk.notes.append(
                f"line {seen.seq:,} is right and not in the head: a crash came between the two; "
                "it was not acknowledged"
            )
        elif could_begin(extra[0], seq=head.count + 1, previous=last):
            walk.notes.append(
                f"{len(extra[0]):,} bytes follow line {head.count:,}: the beginning of a line, "
                "which a crash left; it was not acknowledged"
            )
        else:
            return walk
    walk.is_whole = True
    return walk


def _look_at_all(handle: int, size: int, key: AuditKey) -> tuple[list[_Seen], bytes]:
    """All lines of a file, and what follows the last newline."""
    seen: list[_Seen] = []
    rest = b""
    for piece in _pieces(handle, size):
        if piece.endswith(b"\n") or len(piece) > LINE_BYTES_MAX:
            seen.append(_look(piece, len(seen) + 1, key))
        else:
            rest = piece
    return seen, rest


def _faults(seen: list[_Seen], rest: bytes, head: Head) -> list[Fault]:
    faults = sorted(_explain(seen, rest, head), key=lambda fault: fault.line)
    if not faults:
        problem = "the lines are not those that the head knows"
        faults = [Fault(line=1, kind="changed", problem=problem)]
    return faults


def _explain(seen: list[_Seen], rest: bytes, head: Head) -> Iterator[Fault]:
    """What happened to lines, as far as one can say."""
    right = {s.seq: s for s in reversed(seen) if s.mac is not None}
    missing = set(range(1, head.count + 1)) - right.keys()
    in_order = _longest_rise([s.seq for s in seen if right.get(s.seq) is s])
    before = 0
    for s in seen:
        if s.mac is None:
            yield _bad(s, before + 1, missing)
            before += 1
            continue
        before = number = s.seq
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
        elif (one := right.get(number - 1)) is not None and s.previous != one.mac:
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
    number = next((n for n in (seen.seq, expected) if n in missing), 0)
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
