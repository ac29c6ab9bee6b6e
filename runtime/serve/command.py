"""The command `c2t serve`: its options, and which of them go together.

Nothing of a door is imported before the command runs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from c2t.runtime.command_line.auditing import AuditOptions, auditing
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    BatchSizeOption,
    BundleArgument,
    EngineOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.run import (
    UsageError,
    hash_progress,
    import_stage,
    open_checking,
    say,
)
from c2t.runtime.engines.table import EngineName

HTTP_PORT, SILA_PORT = 8080, 50052
GIB = 1 << 30
DAY = 24 * 3600.0


@takes_option_classes()
def serve(
    bundle: BundleArgument,
    *,
    host: Annotated[str, typer.Option(help="Where HTTP, the page and SiLA 2 listen.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of HTTP and the page; 0: a free one.")
    ] = HTTP_PORT,
    http: Annotated[bool, typer.Option(help="Open the door for HTTP, with the page.")] = True,
    sila: Annotated[bool, typer.Option("--sila", help="Open the door for SiLA 2.")] = False,
    socket: Annotated[
        Path | None, typer.Option(help="Make a Unix socket here, as the C library takes it.")
    ] = None,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Talk JSON-RPC with the parent process, nothing else.")
    ] = False,
    engine: EngineOption = EngineName.auto,
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 8,
    trust: TrustOption = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File of the token that HTTP requests must carry.")
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Nobody is asked who they are, even off this machine."),
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name of this machine in requests.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Origin of pages that a proxy in front serves.")
    ] = None,
    allow_folder: Annotated[
        list[Path] | None, typer.Option(help="Files below it may be described by their path.")
    ] = None,
    jobs_folder: Annotated[
        Path | None, typer.Option(help="Where jobs lie.  [default: the user's folder of states]")
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="How long results of jobs are kept.")
    ] = 7.0,
    upload_gib: Annotated[
        float, typer.Option(min=0, help="Largest file that may be sent, in GiB.")
    ] = 16.0,
    store_gib: Annotated[
        float, typer.Option(min=0, help="Most that all jobs' files may take, in GiB.")
    ] = 64.0,
    sila_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of SiLA 2; 0: a free one.")
    ] = SILA_PORT,
    sila_insecure: Annotated[
        bool, typer.Option("--sila-insecure", help="SiLA 2 without TLS, on this machine only.")
    ] = False,
    sila_certificate: Annotated[
        Path | None, typer.Option(help="Certificate (PEM) instead of the service's own.")
    ] = None,
    sila_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    sila_client_authority: Annotated[
        Path | None, typer.Option(help="Let in only clients with a certificate of these (PEM).")
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="How long requests may take to end when it stops.")
    ] = 30.0,
    audit: AuditOptions,
) -> None:
    """Answer other programs: over HTTP, SiLA 2, a Unix socket, or standard input.

    Open http://127.0.0.1:8080 for the page. Nothing of this is sent anywhere: by default only this
    machine can reach it. The first signal stops it in order: what was begun is finished, and jobs
    go on when it is back.
    """
    if stdio:
        _check_alone(
            {
                "--sila": sila,
                "--socket": socket,
                "--token-file": token_file,
                "--insecure": insecure,
                "--allow-folder": allow_folder,
                "--jobs-folder": jobs_folder,
            }
        )
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.describe.describer import DescribeOptions

    place = audit.place("serve", bundle)
    describing = DescribeOptions(engine=engine.value, threads=threads, batch_size=batch_size)
    if stdio:  # needs no package of the other doors
        from c2t.runtime.serve.parent import serve_parent

        opening = partial(open_checking, bundle, trust)
        raise SystemExit(serve_parent(opening, describing, place, reason=audit.audit_reason))
    stage = import_stage("c2t.runtime.serve.options", extra="serve")
    with auditing(place) as trail:
        opened = open_bundle(bundle, verify=False, trust=trust)
        sila_door = stage.SilaOptions(
            folder=stage.state_folder("sila"),
            host=host,
            port=sila_port,
            insecure=sila_insecure,
            certificate=sila_certificate,
            key=sila_key,
            client_authority=sila_client_authority,
            open_to_all=insecure,
        )
        options = stage.ServeOptions(
            describing=describing,
            http=stage.HttpOptions(
                token=None if token_file is None else stage.read_token(token_file),
                hosts=(*stage.own_names(host), *(allow_host or ())),
                origins=tuple(allow_origin or ()),
            ),
            listen=stage.ListenOptions(host=host, port=port, drain_seconds=drain_seconds)
            if http
            else None,
            insecure=insecure,
            sila=sila_door if sila else None,
            socket=socket,
            jobs=stage.JobOptions(
                folder=jobs_folder or stage.default_folder(opened.digest),
                allowed=tuple(allow_folder or ()),
                keep_seconds=keep_days * DAY,
                upload_bytes=int(upload_gib * GIB),
                stored_bytes=int(store_gib * GIB),
                keep_bytes=int(store_gib * GIB),
            ),
            drain_seconds=drain_seconds,
        )
        server = import_stage("c2t.runtime.serve.server", extra="serve")
        opened.check_on_use(hash_progress)
        server.serve_bundle(opened, options, report=say, trail=trail, reason=audit.audit_reason)


def _check_alone(others: dict[str, Any]) -> None:
    """Refuse options of other doors beside `--stdio`.

    Raises:
        UsageError: One of them was given.
    """
    for name, value in others.items():
        if value:
            problem = f"--stdio talks with the parent process alone; {name} is for other doors"
            raise UsageError(problem, hint="start a second `c2t serve` for other doors")
