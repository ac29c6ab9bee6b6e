"""Who runs this process: the account that the system knows, not what the environment says."""

from __future__ import annotations

import getpass
import os
import platform
import sys

from c2t.runtime.audit.line import Who


def who_runs(asked_by: str = "") -> Who:
    """The account of this process.

    Args:
        asked_by: Who asked for something over the network; "": nobody did.
    """
    host, process = platform.node(), os.getpid()
    if sys.platform == "win32":
        return Who(user=getpass.getuser(), host=host, process=process, asked_by=asked_by)
    import pwd

    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # usual in containers
        user = str(uid)
    return Who(user=user, uid=uid, host=host, process=process, asked_by=asked_by)
