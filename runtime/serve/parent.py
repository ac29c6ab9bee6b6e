"""`c2t serve --stdio`: the process that started this one is the only client."""

from __future__ import annotations

import logging
from collections.abc import Callable

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.command_line.auditing import AuditPlace, auditing
from c2t.runtime.describe.describer import DescribeOptions, check_options
from c2t.runtime.describe.model import Model
from c2t.runtime.serve.audit_service import parent_settings, service_audit
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.run import run_stdio
from c2t.runtime.serve.stdio.streams import protocol_streams


def serve_parent(
    open_bundle: Callable[[], Bundle], options: DescribeOptions, place: AuditPlace, *, reason: str
) -> int:
    """Answer the parent process until it ends the input.

    Args:
        open_bundle: Opens the bundle, with its hashes checked. Called when standard output belongs
            to the protocol, so that nothing else can get into it.
        options: The engine, and how to describe where a request says nothing else.
        place: Of the audit trail, if there is one.
        reason: Why settings are others than the last time, for the trail.

    Returns:
        The exit code.

    Raises:
        C2TError: See `c2t.open`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    with protocol_streams() as (source, sink), auditing(place) as trail:
        bundle = open_bundle()
        if bundle.manifest.has_decoder:
            check_options(bundle, options)
        about = parent_settings(bundle, options)
        with (
            service_audit(trail, bundle, about, reason=reason) as audit,
            Model(bundle, options) as model,
        ):
            room = EngineRoom(model, audit=audit)
            try:
                room.warm_up()
                return run_stdio(room, source, sink)
            finally:
                room.close()
