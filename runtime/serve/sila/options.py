"""Where the SiLA 2 door listens, who may come in, and how much it takes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.state_folder import state_folder

PORT = 50052  # what SiLA 2 servers listen to by custom
NAME_MAX = 255  # of a SiLA 2 server
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, kw_only=True)
class TransferLimits:
    """What large values may take in memory.

    Args:
        upload_bytes: Most bytes of one upload.
        uploads: Most uploads that are under way or wait for their command.
        uploads_bytes: Most bytes of those together.
        upload_chunks: Most pieces of one upload.
        upload_seconds: An upload that no command has taken by then is dropped.
        downloads_bytes: Most bytes of results that wait to be fetched; the oldest are dropped.
        download_seconds: How long results can be fetched.
    """

    upload_bytes: int = 64 << 20
    uploads: int = 16
    uploads_bytes: int = 256 << 20
    upload_chunks: int = 4096
    upload_seconds: float = 60.0
    downloads_bytes: int = 256 << 20
    download_seconds: float = 600.0


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """How much commands hold, and how long what they gave is kept.

    Args:
        keep_seconds: How long after its end a command's results can be had.
        keep_runs: Most commands that are kept after their end; the oldest are dropped.
        keep_bytes: Most bytes of their results; the oldest are dropped.
        returned_bytes: Most bytes of results in a command's final response.
        held_bytes: Most bytes of cells and files that wait to be read, of all commands together.
        look_seconds: How often a command that runs says how far it is.
    """

    keep_seconds: float = 600.0
    keep_runs: int = 4096
    keep_bytes: int = 256 << 20
    returned_bytes: int = 32 << 20
    held_bytes: int = 256 << 20
    look_seconds: float = 0.1

    @property
    def lifetime(self) -> timedelta:
        """How long the library remembers a command after it has begun, unless that is extended."""
        return timedelta(seconds=self.keep_seconds)


@dataclass(frozen=True, kw_only=True)
class SilaOptions:
    """Options of the SiLA 2 door. It does not announce itself on the network (mDNS).

    Args:
        folder: Where its UUID, its key and its certificate are kept.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        insecure: Without TLS; only at a loopback address.
        certificate: PEM file of a certificate chain instead of the door's own; needs `key`.
        key: PEM file of its key.
        client_authority: PEM file of certificates; only clients with a certificate that one of
            these has signed are let in.
        open_to_all: Without `client_authority`, whoever reaches the port may use the service, also
            from other machines. SiLA 2 itself knows no token.
        name: The server's name, as clients show it.
        transfers: See `TransferLimits`.
        runs: See `RunLimits`.

    Raises:
        C2TError: Options that contradict each other, or that nobody can listen at.
    """

    folder: Path = field(default_factory=lambda: state_folder("sila"))
    host: str = "127.0.0.1"
    port: int = PORT
    insecure: bool = False
    certificate: Path | None = None
    key: Path | None = None
    client_authority: Path | None = None
    open_to_all: bool = False
    name: str = "Cell Describer"
    transfers: TransferLimits = field(default_factory=TransferLimits)
    runs: RunLimits = field(default_factory=RunLimits)

    def __post_init__(self) -> None:
        if address_of(self.host) is None and not _HOST.match(self.host):
            problem = f"{self.host!r} is no address to listen at"
            raise C2TError(problem, hint="give a name or an IP address, without a port")
        if not 0 <= self.port <= 65535:
            problem = f"port {self.port} does not exist"
            raise C2TError(problem, hint="take one from 1 to 65535, or 0 for a free one")
        if self.insecure and not self.on_loopback:
            problem = f"without TLS, SiLA 2 would be open to everybody who reaches {self.host}"
            hint = "leave --sila-insecure out, or listen at 127.0.0.1"
            raise C2TError(problem, hint=hint)
        if (self.certificate is None) != (self.key is None):
            problem = "a certificate and its key belong together, and one of them is missing"
            raise C2TError(problem, hint="give both, or neither: then the service makes its own")
        tls = self.certificate or self.client_authority
        if self.insecure and tls:
            problem = f"{tls} is for TLS, and --sila-insecure is without"
            raise C2TError(problem, hint="leave one of them out")
        if not 0 < len(self.name) <= NAME_MAX:
            problem = f"the server's name has {len(self.name)} characters"
            raise C2TError(problem, hint=f"take 1 to {NAME_MAX}")

    def check_access(self) -> None:
        """Refuse a door that is open to everybody, unless that is wanted.

        Raises:
            C2TError: Other machines reach it, and nobody is asked who they are.
        """
        if not (self.on_loopback or self.client_authority or self.open_to_all):
            problem = f"SiLA 2 would let in everybody who reaches {self.host}"
            hint = "give --sila-client-authority, or --insecure if the network may be trusted; "
            hint += "see `c2t help service`"
            raise C2TError(problem, hint=hint)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the door."""
        address = address_of(self.host)
        return self.host.lower() == "localhost" if address is None else address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is, None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
