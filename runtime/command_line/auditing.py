"""The audit trail of a command: opened before it works, told how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2t.runtime.command_line.options import (
    AuditHeadOption,
    AuditKeyOption,
    AuditOption,
    AuditReasonOption,
)
from c2t.runtime.system.errors import AuditError, C2TError

if TYPE_CHECKING:
    from c2t.runtime.audit.trail import AuditTrail


@dataclass(frozen=True, kw_only=True)
class AuditPlace:
    """Where a trail lies.

    Args:
        trail: The file; None: there is no trail.
        key: Its key; None: the user's own.
        head: Its head; None: in the user's state directory.
        scope: The command.
        subject: What it is about, for a line that says that it was refused.
    """

    trail: Path | None
    key: Path | None
    head: Path | None
    scope: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """The trail of a command, as a user says it."""

    audit: AuditOption = None
    audit_key: AuditKeyOption = None
    audit_head: AuditHeadOption = None
    audit_reason: AuditReasonOption = ""

    def place(self, scope: str, subject: Path) -> AuditPlace:
        """Where the trail lies, for a command and what it is about."""
        return AuditPlace(
            trail=self.audit,
            key=self.audit_key,
            head=self.audit_head,
            scope=scope,
            subject=str(subject),
        )


@contextmanager
def auditing(place: AuditPlace) -> Iterator[AuditTrail | None]:
    """Give an open trail; if the block fails or is interrupted, a line says so.

    Raises:
        AuditError: The trail cannot be used.
    """
    if place.trail is None:
        yield None
        return
    from c2t.runtime.audit.line import Action, Details
    from c2t.runtime.audit.trail import AuditTrail

    with AuditTrail.open(place.trail, key=place.key, head=place.head) as trail:
        try:
            yield trail
        except AuditError:  # nothing can be said in a trail that does not take lines
            raise
        except C2TError as error:
            details = Details(scope=place.scope, input=place.subject, problem=error.problem)
            trail.record(Action.refuse, details)
            raise
        except BaseException as error:
            result = f"not finished: {type(error).__name__}"
            details = Details(scope=place.scope, input=place.subject, result=result)
            trail.record(Action.stop, details)
            raise
