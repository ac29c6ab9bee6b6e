r"""Where the key and the heads of audit trails are kept: away from the trails themselves.

Who may write to a results folder can cut a trail there. So its head lies in the user's state
directory by default: `$XDG_STATE_HOME/c2t/audit`, `~/.local/state/c2t/audit`, or on Windows
`%LOCALAPPDATA%\c2t\audit`. A lab that wants more names a place that only the service
may write to.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from c2t.runtime.system.errors import AuditError

KEY_NAME = "key"
STATE_VARIABLE = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME"


def state_folder() -> Path:
    """The folder of the default key and heads; it need not be there.

    Raises:
        AuditError: This user has no home.
    """
    named = os.environ.get(STATE_VARIABLE, "")
    if not Path(named).is_absolute():
        try:
            named = str(Path.home() / ".local" / "state")
        except RuntimeError as error:
            problem = "there is no home folder to keep the head of the audit trail in"
            raise AuditError(
                problem, hint="name files with --audit-key and --audit-head"
            ) from error
    return Path(named) / "c2t" / "audit"


def default_key() -> Path:
    """The key of all trails for which no other is named."""
    return state_folder() / KEY_NAME


def default_head(trail: Path) -> Path:
    """The head of a trail, by the place where the trail lies."""
    place = os.path.realpath(trail)
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    return state_folder() / f"{digest[:16]}-{Path(place).name[:100]}.head"


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
