"""Where the key and the heads of audit trails are kept: away from the trails themselves.

Who may write to a results folder can cut a trail there. So its head lies in the user's folder of
states by default. A lab that wants more names a place that only the service may write to.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from c2t.runtime.system.errors import AuditError
from c2t.runtime.system.state_folder import state_folder

KEY_NAME = "key"


def audit_folder() -> Path:
    """The folder of the default key and heads; it need not be there.

    Raises:
        AuditError: This user has no home.
    """
    try:
        return state_folder("audit")
    except RuntimeError as error:
        problem = "there is no home folder to keep the head of the audit trail in"
        raise AuditError(problem, hint="name files with --audit-key and --audit-head") from error


def default_key() -> Path:
    """The key of all trails for which no other is named."""
    return audit_folder() / KEY_NAME


def default_head(trail: Path) -> Path:
    """The head of a trail, by the place where the trail lies."""
    place = os.path.realpath(trail)
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    return audit_folder() / f"{digest[:16]}-{Path(place).name[:100]}.head"


def make_folder(file: Path) -> None:
    """Make the folder of a file that is kept away from others.

    Raises:
        AuditError: It cannot be made.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot make {file.parent}: {error.strerror}"
        raise AuditError(problem, hint="name files with --audit-key and --audit-head") from error
