"""The SiLA 2 door: opened on an event loop that others use too, and closed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2t.runtime.serve.sila.options import SilaOptions
from c2t.runtime.system.errors import C2TError

if TYPE_CHECKING:
    from c2t.runtime.serve.jobs.jobs import Jobs
    from c2t.runtime.serve.room.room import EngineRoom
    from c2t.runtime.serve.sila.server import CellServer

GRACE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class SilaDoor:
    """An open door.

    Args:
        server: The server behind it.
        host: Where it listens.
        port: The port, also where a free one was asked for.
        certificate_file: What clients have to trust; None without TLS.
    """

    server: CellServer
    host: str
    port: int
    certificate_file: Path | None

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Take no more commands, wait for those that run, then stop them.

        Jobs go on, and are gone on with when the service is back.

        Args:
            grace_seconds: How long to wait.
        """
        await self.server.stop(grace_seconds * 1000)
        self.server.transfers.drop_all()


async def start(room: EngineRoom, jobs: Jobs, options: SilaOptions) -> SilaDoor:
    """Open the door in the running event loop.

    Args:
        room: Describes.
        jobs: Describe files.
        options: Of the door.

    Raises:
        C2TError: It would be open to everybody, what SiLA 2 needs is not installed, the port is
            taken, or the folder unusable.
    """
    options.check_access()
    _check_installed()
    from c2t.runtime.serve.sila.identity import open_identity
    from c2t.runtime.serve.sila.server import CellServer

    identity = open_identity(options)
    server = CellServer(room, jobs, options=options, identity=identity)
    try:
        await server.start()
    except RuntimeError as error:  # gRPC's own kind; its reasons are in its log
        problem = f"cannot listen at {options.host}, port {options.port}"
        raise C2TError(problem, hint="another service may use it: take another port") from error
    return SilaDoor(
        server=server,
        host=options.host,
        port=server.port,
        certificate_file=identity.certificate_file,
    )


def _check_installed() -> None:
    """Refuse to start where a package is missing, or is another one of the same name.

    Raises:
        C2TError: With what to install.
    """
    try:
        for name in ("cryptography.x509", "grpc.aio", "sila.server"):
            importlib.import_module(name)
    except ImportError as error:
        problem = f"SiLA 2 is not installed here: {error}"
        hint = 'pip install "c2t[sila]"; a package called "sila" is another project: remove it'
        raise C2TError(problem, hint=hint) from error
