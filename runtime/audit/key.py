"""The key of an audit trail: 32 secret bytes, for HMAC-SHA256.

One decision: HMAC, not a signature. Whoever appends must hold a secret in either case, and so can
forge what comes after. HMAC needs no package and takes microseconds. The price is that who checks
can also write: keep the key where only those are who may do both.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from c2t.runtime.audit.place import make_folder
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import AuditError
from c2t.runtime.system.portable.open_flags import BINARY
from c2t.runtime.system.temporaries import remove_litter, temporary_path

KEY_BYTES = 32
KEY_HINT = "name its key with --audit-key: a file of 64 hexadecimal digits"
NEW_HINT = "make one with `openssl rand -hex 32 > FILE`, and keep it where only you can read it"
_DIGITS = re.compile(rb"\s*([0-9a-fA-F]{64})\s*")


@dataclass(frozen=True)
class AuditKey:
    """A key: its 32 bytes."""

    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """What lines call it: 16 hexadecimal digits, which say nothing about the secret."""
        return self.mac(b"name", b"")[:16]

    def mac(self, use: bytes, content: bytes) -> str:
        """The code over some bytes, 64 hexadecimal digits; another for each use."""
        return hmac.new(self.secret, use + b"\0" + content, hashlib.sha256).hexdigest()

    def accepts(self, mac: str, use: bytes, content: bytes) -> bool:
        """Whether `mac` is this key's code over `content`."""
        return hmac.compare_digest(self.mac(use, content).encode(), mac.encode())


def read_key(path: Path) -> AuditKey:
    """Read a key.

    Raises:
        AuditError: There is none, or the file is no key.
    """
    content = read_bounded(
        path, bytes_max=4096, error=AuditError, hint=NEW_HINT, what="the key of an audit trail"
    )
    digits = _DIGITS.fullmatch(content)
    if digits is None:
        problem = f"{path} is not the key of an audit trail: it has no 64 hexadecimal digits"
        raise AuditError(problem, hint=NEW_HINT)
    return AuditKey(bytes.fromhex(digits[1].decode()))


def read_or_make_key(path: Path) -> AuditKey:
    """Read a key; make one if there is none. Of several processes that do so, all get one key.

    Raises:
        AuditError: It cannot be read or made.
    """
    if os.path.lexists(path):
        return read_key(path)
    make_folder(path)
    remove_litter(path)
    temporary = temporary_path(path)
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | BINARY, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(temporary, path)
        temporary.unlink()
    except OSError as error:
        problem = f"cannot write {path}: {error.strerror}"
        raise AuditError(problem, hint="name a key with --audit-key") from error
    return read_key(path)
