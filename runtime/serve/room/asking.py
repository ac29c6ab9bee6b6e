"""Who asks for what is being done now: said by a door, kept with the task or thread that does it.

One decision: a context variable. A door says it once, where it lets somebody in; what the request
then calls, in threads too, need not pass it on, and cannot lose it.
"""

from __future__ import annotations

from contextvars import ContextVar

from c2t.runtime.system.text_tables import visible

LENGTH_MAX = 200
_ASKED_BY: ContextVar[str] = ContextVar("c2t_asked_by", default="")


def let_in(door: str, who: str = "") -> None:
    """Say through which door the current task or thread was asked, and by whom.

    Args:
        door: "HTTP", "SiLA 2" and the like.
        who: As far as the door knows; no secret.
    """
    name = visible(" ".join(f"{door}, {who}".split() if who else [door]))
    _ASKED_BY.set(name if len(name) <= LENGTH_MAX else f"{name[: LENGTH_MAX - 1]}…")


def asked_by() -> str:
    """Who asked; "": nobody did, the service does it of itself."""
    return _ASKED_BY.get()
