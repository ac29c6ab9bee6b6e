"""The head of an audit trail: how many lines it has and how the last one ends, with a code.

A chain of lines shows any change but one: a tail that was cut off. The head shows that, as long as
it is kept where the trail cannot be reached from.

One decision: two records of one length in turn, each written in place and synced. Killed while it
writes one, a process leaves the other, which is one line older. A rename would cost two syncs more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from c2t.runtime.audit.key import KEY_HINT, AuditKey
from c2t.runtime.audit.place import make_folder
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import AuditError
from c2t.runtime.system.files import atomic_file
from c2t.runtime.system.portable.open_flags import BINARY

USE = b"head"
RECORD_BYTES = 512
HEAD_HINT = "name its own head with --audit-head; a head that is lost cannot be made again"


class _Record(msgspec.Struct, kw_only=True, frozen=True):
    key: str
    log: str
    count: int
    bytes: int
    start: int
    last: str
    mac: str = ""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a trail is like after its last line.

    Attributes:
        log: The trail's own random name, 64 hexadecimal digits.
        count: Lines.
        bytes: Their length.
        start: Where the last one begins.
        last: Its code; of an empty trail its name.
    """

    log: str
    count: int
    bytes: int
    start: int
    last: str


def read_head(path: Path, key: AuditKey) -> Head:
    """The newer of the two records that are right.

    Raises:
        AuditError: No head, damaged, or of another key.
    """
    content = read_bounded(
        path,
        bytes_max=2 * RECORD_BYTES,
        error=AuditError,
        hint=HEAD_HINT,
        what="the head of an audit trail",
    )
    slots = [content[at : at + RECORD_BYTES] for at in range(0, len(content), RECORD_BYTES)]
    records = [record for record in map(_decode, slots) if record is not None]
    right = [
        record
        for record in records
        if key.accepts(record.mac, USE, _content(msgspec.structs.replace(record, mac="")))
    ]
    if not right:
        if records and all(record.key != key.name for record in records):
            problem = f"{path} is the head of a trail with another key ({records[0].key})"
            raise AuditError(problem, hint=KEY_HINT)
        problem = f"{path} is not the head of an audit trail, or was changed"
        raise AuditError(problem, hint=HEAD_HINT)
    newest = max(right, key=lambda record: record.count)
    return Head(
        log=newest.log,
        count=newest.count,
        bytes=newest.bytes,
        start=newest.start,
        last=newest.last,
    )


def make_head(path: Path, head: Head, key: AuditKey) -> None:
    """Write the head of a new trail, in one step.

    Raises:
        AuditError: Its folder cannot be made.
        OutputError: It cannot be written.
    """
    make_folder(path)
    with atomic_file(path) as temporary:
        temporary.chmod(0o600)
        # Both records' places, so that later ones do not change the file's length.
        temporary.write_bytes(_slot(head, key) + b" " * RECORD_BYTES)


def write_head(path: Path, head: Head, key: AuditKey) -> None:
    """Write the record whose turn it is, and sync it.

    Raises:
        OSError: It cannot be written.
    """
    handle = os.open(path, os.O_RDWR | BINARY)
    try:
        os.lseek(handle, head.count % 2 * RECORD_BYTES, os.SEEK_SET)
        os.write(handle, _slot(head, key))
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """Bring what was written to a file to the disk."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(handle)  # not the time of the change, which would be a second write
    else:
        os.fsync(handle)


def _slot(head: Head, key: AuditKey) -> bytes:
    record = _Record(
        key=key.name,
        log=head.log,
        count=head.count,
        bytes=head.bytes,
        start=head.start,
        last=head.last,
    )
    record = msgspec.structs.replace(record, mac=key.mac(USE, _content(record)))
    return msgspec.json.encode(record).ljust(RECORD_BYTES - 1) + b"\n"


def _content(record: _Record) -> bytes:
    return msgspec.json.encode(record)


def _decode(slot: bytes) -> _Record | None:
    try:
        return msgspec.json.decode(slot, type=_Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
