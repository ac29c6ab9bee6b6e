"""What an audit trail is told of a service as a whole: its settings, its start and its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import c2t
from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.serve.room.audit import NO_AUDIT, SCOPE, RoomAudit, ServiceAudit

if TYPE_CHECKING:  # a service of a parent process needs no package of other doors
    from c2t.runtime.serve.options import ServeOptions


@contextmanager
def service_audit(
    trail: AuditTrail | None, bundle: Bundle, settings: dict[str, str], *, reason: str
) -> Iterator[RoomAudit]:
    """Give what tells the trail of requests and jobs, until the service ends.

    Args:
        trail: An open one; None: there is none.
        bundle: What is served.
        settings: Of the service, by name; changes get a line with the previous values.
        reason: Why there are changes.

    Raises:
        AuditError: The trail takes no line; the service must not start.
    """
    if trail is None:
        yield NO_AUDIT
        return
    trail.configure(SCOPE, settings, reason=reason)
    about = Details(
        scope=SCOPE,
        bundle=bundle.digest,
        signer=bundle.trust.fingerprint if bundle.trust else "",
        settings=settings,
    )
    trail.record(Action.start, about)
    with ServiceAudit(trail) as audit:
        yield audit
    # After an error, whoever opened the trail says how it ended.
    trail.record(Action.stop, Details(scope=SCOPE, bundle=bundle.digest, result="stopped"))


def service_settings(bundle: Bundle, options: ServeOptions) -> dict[str, str]:
    """The settings of a service with doors; the token is not among them."""
    http, listen, sila, jobs = options.http, options.listen, options.sila, options.jobs
    return {
        **_common(bundle, options.describing),
        "HTTP": "closed" if listen is None else f"{listen.host}, port {listen.port}",
        "HTTP lets in": "who has the token" if http.token is not None else "everybody",
        "HTTP hosts": ", ".join(http.hosts),
        "HTTP origins": ", ".join(http.origins),
        "SiLA 2": "closed" if sila is None else f"{sila.host}, port {sila.port}",
        "SiLA 2 lets in": _sila_access(options),
        "Unix socket": str(options.socket or "closed"),
        "jobs": str(jobs.folder),
        "jobs are kept": f"{jobs.keep_seconds:g} s",
        "allowed folders": ", ".join(map(str, jobs.allowed)),
    }


def parent_settings(bundle: Bundle, options: DescribeOptions) -> dict[str, str]:
    """The settings of a service whose parent process is its only client."""
    return {**_common(bundle, options), "standard input": "open"}


def _common(bundle: Bundle, options: DescribeOptions) -> dict[str, str]:
    own = bundle.manifest.generation_part  # None: it writes no texts
    generation = {} if own is None else {f"bundle's {n}": str(v) for n, v in asdict(own).items()}
    given = {name: str(value) for name, value in asdict(options).items() if value is not None}
    return {
        "bundle": bundle.digest,
        "trusted key": bundle.trust.fingerprint if bundle.trust else "none",
        "c2t": c2t.__version__,
        **generation,
        **given,
    }


def _sila_access(options: ServeOptions) -> str:
    sila = options.sila
    if sila is None:
        return "nobody"
    tls = "without TLS" if sila.insecure else "with TLS"
    if sila.client_authority is not None:
        return f"who has a certificate of {sila.client_authority}, {tls}"
    return f"everybody, {tls}"
