"""`c2t audit`: is a trail as it was written, and what does it say?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.options import AuditHeadOption, AuditKeyOption, JsonOption
from c2t.runtime.command_line.run import print_json, say
from c2t.runtime.system.errors import AuditError

TrailArgument = Annotated[Path, typer.Argument(metavar="TRAIL", help="The audit trail's file.")]
SHOWN = 20  # faults; --json has them all


def check(
    trail: TrailArgument,
    audit_key: AuditKeyOption = None,
    audit_head: AuditHeadOption = None,
    json: JsonOption = False,
) -> None:
    """Check that an audit trail is as it was written.

    Finds lines that were changed, removed, moved, added or cut off, and names them.
    """
    from c2t.runtime.audit.check import check_trail

    checked = check_trail(trail, key=audit_key, head=audit_head)
    if json:
        print_json(checked)
    elif not checked.faults:
        between = f", from {checked.first} to {checked.last}" if checked.lines else ""
        print(f"{checked.lines:,} lines are as they were written{between}")
    for note in checked.notes:
        say(f"note: {note}")
    for fault in checked.faults[1 : SHOWN + 1]:
        say(f"{fault.kind}: {fault.problem}")
    if checked.faults:
        first = checked.faults[0]
        problem = f"{trail} is not as it was written: {first.problem}"
        if len(checked.faults) > 1:
            problem += f"; {len(checked.faults) - 1:,} more, above"
        hint = "keep the file as it is, and find a copy from before; its head tells which is right"
        raise AuditError(problem, hint=hint)


def show(trail: TrailArgument) -> None:
    """Print an audit trail for people. It is not checked."""
    from c2t.runtime.audit.show import show_trail

    for line in show_trail(trail):
        print(line)
