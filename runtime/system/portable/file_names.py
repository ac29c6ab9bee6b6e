"""Names that a file can have on every system, so that a bundle can be copied to any.

Source: Microsoft, "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"}
_DEVICES |= {f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³"}
_SIGNS = frozenset('<>:"/\\|?*')


def name_problem(name: str) -> str:
    """Why a plain name is no file's on Windows, in words; "": it can be one.

    A device's name is one with any suffix: what is written to `nul.json` is lost. A dot or a space
    at the end is dropped, so that two names are one file.
    """
    if any(sign in _SIGNS or ord(sign) < 32 for sign in name):
        return "has a sign that names of files cannot have on Windows"
    if name.endswith((".", " ")):
        return "ends with a dot or a space, which Windows drops"
    if name.partition(".")[0].rstrip(" ").lower() in _DEVICES:
        return "is the name of a device on Windows"
    return ""
