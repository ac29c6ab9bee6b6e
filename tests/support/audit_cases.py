"""An audit trail to tamper with, and random ways to do so without its key."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from c2t.runtime.audit.check import check_trail
from c2t.runtime.audit.key import AuditKey
from c2t.runtime.audit.line import USE, Action, Details, read_line, write_line
from c2t.runtime.audit.trail import AuditTrail

KINDS = ("change", "remove", "reorder", "cut", "append", "insert", "repeat")


@dataclass(frozen=True)
class Files:
    """Where a trail, its key and its head lie."""

    trail: Path
    key: Path
    head: Path

    @staticmethod
    def new(folder: Path, name: str = "trail") -> Files:
        folder.mkdir(exist_ok=True)
        files = Files(folder / f"{name}.jsonl", folder / f"{name}.key", folder / f"{name}.head")
        files.key.write_text(secrets.token_hex(32))
        return files

    def open(self) -> AuditTrail:
        return AuditTrail.open(self.trail, key=self.key, head=self.head)

    def check(self):
        return check_trail(self.trail, key=self.key, head=self.head)


def write_trail(files: Files, lines: int, seed: int = 0) -> None:
    """A trail as a day of work leaves it."""
    random = Random(seed)
    with files.open() as trail:
        for number in range(lines):
            details = Details(
                input=f"cells{number}.h5ad",
                bundle=f"{random.getrandbits(256):064x}",
                cells=random.randrange(1, 300),
                text_sha256=f"{random.getrandbits(256):064x}",
                settings={"layer": "X", "note": "a\nb ü"} if number % 5 == 0 else {},
            )
            trail.record(random.choice(list(Action)), details)


@dataclass(frozen=True)
class Tampered:
    """Another content of the file, and the lines one of which must be named."""

    content: bytes
    lines: set[int]


def tamper(content: bytes, kind: str, random: Random) -> Tampered:
    """Change the content of a trail at random, as somebody without its key can."""
    lines = content.splitlines(keepends=True)
    count = len(lines)
    at = random.randrange(count)
    match kind:
        case "change":
            lines[at] = _changed(lines[at], random)
            return Tampered(b"".join(lines), {at + 1})
        case "remove":
            many = min(random.choice([1, 1, 1, 2, 5]), count - at)
            del lines[at : at + many]
            return Tampered(b"".join(lines), {at + 1})
        case "reorder":
            other = random.choice([n for n in range(count) if n != at])
            if random.random() < 0.5:
                lines[at], lines[other] = lines[other], lines[at]
                named = {at + 1, other + 1}
            else:
                lines.insert(other, lines.pop(at))
                named = {at + 1, at + 2, at} if abs(at - other) == 1 else {at + 1}
            return Tampered(b"".join(lines), named)
        case "cut":
            if random.random() < 0.5:
                return Tampered(b"".join(lines[:at]), {at + 1})
            length = random.randrange(len(content))
            return Tampered(content[:length], {content.count(b"\n", 0, length) + 1})
        case "append":
            foreign = _foreign(lines[-1], count + 1, random)
            return Tampered(content + foreign, {count + 1})
        case "insert":
            lines.insert(at, _foreign(lines[at], at + 1, random))
            return Tampered(b"".join(lines), {at + 1})
        case _:
            lines.insert(random.randrange(count + 1), lines[at])
            return Tampered(b"".join(lines), {at + 1})


def _changed(line: bytes, random: Random) -> bytes:
    """Another line, by one bit, one byte, or one value."""
    place = random.randrange(len(line))
    match random.randrange(6):
        case 0:
            return (
                line[:place] + bytes([line[place] ^ (1 << random.randrange(8))]) + line[place + 1 :]
            )
        case 1:
            return line[:place] + random.choice([b" ", b"x", b"\\", b"0"]) + line[place:]
        case 2:
            return line[:place] + line[place + 1 :]
        case 3:
            return line.replace(b'"user":"', b'"user":"not-', 1)
        case 4:
            return line.replace(b'"time":"20', b'"time":"19', 1)
        case _:
            return line[:-1] + b"\r\n"


def _foreign(line: bytes, seq: int, random: Random) -> bytes:
    """A line that fits in all but its key: of another key, or one that claims to be ours."""
    written = read_line(line)
    assert written is not None
    other = AuditKey(random.randbytes(32))
    made, _ = write_line(
        other,
        seq=seq,
        previous=line[8:72].decode(),
        time=written.time,
        action=Action.verify,
        who=written.who,
        c2t=written.c2t,
        details=Details(result="as it should be"),
    )
    if random.random() < 0.5:
        return made
    claimed = made[74:-1].replace(other.name.encode(), written.key.encode())
    return b'{"mac":"' + other.mac(USE, claimed).encode() + b'",' + claimed + b"\n"


def tamper_many(files: Files, times: int, seed: int) -> dict[str, Counter[str]]:
    """Tamper with a trail many times.

    Returns:
        For each kind how many there were, were found, and were named by a right line.
    """
    random = Random(seed)
    content = files.trail.read_bytes()
    counts = {name: Counter[str]() for name in ("done", "found", "named")}
    for number in range(times):
        kind = KINDS[number % len(KINDS)]
        tampered = tamper(content, kind, random)
        if tampered.content == content:  # two lines that are the same, say
            continue
        files.trail.write_bytes(tampered.content)
        checked = files.check()
        counts["done"][kind] += 1
        counts["found"][kind] += bool(checked.faults)
        named = {fault.line for fault in checked.faults}
        counts["named"][kind] += bool(named & tampered.lines)
    files.trail.write_bytes(content)
    assert not files.check().faults
    return counts
