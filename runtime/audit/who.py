"""Who runs this process: the account that the system knows, not what the environment says."""

from __future__ import annotations

import getpass
import os
import platform
import sys
from functools import cache

from c2t.runtime.audit.line import Who


def who_runs(asked_by: str = "") -> Who:
    """The account of this process.

    Args:
        asked_by: Who asked for something over the network; "": nobody did.
    """
    user, uid = _account()
    return Who(user=user, uid=uid, host=platform.node(), process=os.getpid(), asked_by=asked_by)


@cache
def _account() -> tuple[str, int | None]:
    """Name and number; looking them up may ask a server."""
    if sys.platform == "win32":
        return getpass.getuser(), None
    import pwd

    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name, uid
    except KeyError:  # usual in containers
        return str(uid), uid
