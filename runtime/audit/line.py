r"""A line of an audit trail: JSON, with a code over itself and the code of the line before it.

    {"mac":"…64 digits…","seq":7,"previous":"…64 digits…","key":…,"time":…,"action":…,"who":…,…}\n

One decision: the code is over the very bytes that follow it, so that nothing has to be brought into
a normal form. The first line's `previous` is the trail's own random name.
"""

from __future__ import annotations

import enum
import re
from typing import Any

import msgspec

from c2t.runtime.audit.key import AuditKey

USE = b"line"
LINE_BYTES_MAX = 1 << 20
_START = re.compile(rb'\{"mac":"([0-9a-f]{64})",')
START_BYTES = 74  # of `{"mac":"…64 digits…",`
_NAMED = re.compile(rb'"key":"([0-9a-f]{16})"')


class Action(enum.StrEnum):
    """What a line is about."""

    configuration = "configuration"  # settings that differ from those of the time before
    start = "start"
    stop = "stop"
    chunk = "chunk"  # cells of a file were described
    request = "request"  # cells of a request were described
    remove = "remove"  # results were removed
    refuse = "refuse"  # something was asked for and not done
    verify = "verify"
    login = "login"  # one that failed
    recover = "recover"  # what a crash had left unfinished was cut off


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A setting's value before and after; None: there was none."""

    previous: str | None
    new: str | None


class Who(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did it: the account of the process, and who asked it over the network."""

    user: str
    uid: int | None = None
    host: str
    process: int
    asked_by: str = ""


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about an action; what does not apply is left out.

    Attributes:
        scope: The command or service.
        input: Name of the file of cells, or of the request.
        input_sha256: Of that file; of a request's cells and settings as JSON, whatever the door.
        bundle: Digest of the bundle.
        signer: Fingerprint of the trusted key that has signed it.
        engine: What ran the graphs.
        settings: All that changes a text, by name.
        first: Place of the first cell among those that were chosen.
        cells: How many were described.
        failed: How many of them have an error.
        text_sha256: See `c2t.runtime.audit.texts`.
        outputs: SHA-256 of each file that was written, by name.
        result: How it ended.
        problem: What was wrong.
        changes: Settings that are others than before.
        reason: Why they were changed, in the user's words.
    """

    scope: str = ""
    input: str = ""
    input_sha256: str = ""
    bundle: str = ""
    signer: str = ""
    engine: str = ""
    settings: dict[str, str] = {}
    first: int | None = None
    cells: int | None = None
    failed: int | None = None
    text_sha256: str = ""
    outputs: dict[str, str] = {}
    result: str = ""
    problem: str = ""
    changes: dict[str, Change] = {}
    reason: str = ""


class Line(msgspec.Struct, kw_only=True):
    """What a line says; its code is not part of it."""

    seq: int  # the first is 1
    previous: str
    key: str
    time: str  # UTC, ISO 8601
    action: str
    who: Who
    c2t: str
    details: dict[str, Any]


class _Written(msgspec.Struct, kw_only=True):
    seq: int
    previous: str
    key: str
    time: str
    action: Action
    who: Who
    c2t: str
    details: Details


def write_line(
    key: AuditKey,
    *,
    seq: int,
    previous: str,
    time: str,
    action: Action,
    who: Who,
    c2t: str,
    details: Details,
) -> tuple[bytes, str]:
    """A line with its newline, and its code."""
    written = _Written(
        seq=seq,
        previous=previous,
        key=key.name,
        time=time,
        action=action,
        who=who,
        c2t=c2t,
        details=details,
    )
    rest = encode(written)[1:]
    mac = key.mac(USE, rest)
    return b'{"mac":"' + mac.encode() + b'",' + rest + b"\n", mac


def encode(value: Any) -> bytes:
    r"""JSON. Names of files that are no UTF-8 are written with escapes, such as `\udcff`."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_escaped(msgspec.to_builtins(value)))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(name): _escaped(of) for name, of in value.items()}
    return [_escaped(of) for of in value] if isinstance(value, list) else value


def mac_of(line: bytes, key: AuditKey) -> str | None:
    """The code of a whole line, with its newline; None if the key did not write it."""
    start = _START.match(line)
    if start is None or not line.endswith(b"\n"):
        return None
    mac = start[1].decode()
    return mac if key.accepts(mac, USE, line[start.end() : -1]) else None


def read_line(line: bytes) -> Line | None:
    """What a line says, whether or not it is right; None: nothing that can be read."""
    try:
        return msgspec.json.decode(line, type=Line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def key_named(line: bytes) -> str:
    """The key that a line names, whether or not it is right."""
    found = _NAMED.search(line)
    return found[1].decode() if found else ""


def could_begin(line: bytes, *, seq: int, previous: str) -> bool:
    """Whether some bytes can be the beginning of the next line, cut off before its newline."""
    if b"\n" in line or len(line) > LINE_BYTES_MAX:
        return False
    begin = line[:START_BYTES]
    pattern = b'{"mac":"' + b"0" * 64 + b'",'
    shape = re.sub(rb"[0-9a-f]", b"0", begin[8:72])
    if begin[:8] + shape + begin[72:] != pattern[: len(begin)]:
        return False
    rest, known = line[START_BYTES:], b'"seq":%d,"previous":"%s",' % (seq, previous.encode())
    return rest[: len(known)] == known[: len(rest)]
