"""Where this user's programs keep what must outlive them: jobs, keys, heads of audit trails."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def state_folder(*parts: str) -> Path:
    r"""A folder below the user's folder of states, which need not exist yet.

    `$XDG_STATE_HOME/c2t` or `~/.local/state/c2t`; on Windows `%LOCALAPPDATA%\c2t`. Never a
    temporary folder: what lies here survives a restart of the machine.

    Source: the XDG Base Directory Specification 0.8, which says that relative paths are ignored.
    """
    stated = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME", "")
    base = Path(stated)
    if not base.is_absolute():
        base = Path.home() / ".local" / "state"
    return base.joinpath("c2t", *parts)
