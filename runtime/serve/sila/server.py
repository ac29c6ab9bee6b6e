"""The server of the SiLA 2 door: the library's, which keeps no more than the door's limits say."""

from __future__ import annotations

import re
from typing import Any

from sila.server import CommandExecution, Server, ServerConfig

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.sila.features import INTENDED_USE, cancel_feature, cell_features
from c2t.runtime.serve.sila.identity import Identity
from c2t.runtime.serve.sila.options import SilaOptions
from c2t.runtime.serve.sila.runs import Run, Runs
from c2t.runtime.serve.sila.transfers import BoundedTransfers

SERVER_TYPE = "CellDescriber"
VENDOR_URL = "https://arxiv.org/abs/2509.24840"  # the paper whose models are run
MESSAGE_BYTES_MAX = 4 << 20  # the longest piece of SiLA 2 has 2 MiB
CONNECTIONS_MAX = 256
STREAMS_MAX = 256  # of a connection; a command takes three
# Major, minor and patch; what else a version says comes behind an underscore.
_VERSION = re.compile(r"(\d+\.\d+(?:\.\d+)?)(.*)")


class CellServer(Server):
    """The server of one room.

    Args:
        room: Describes.
        jobs: Describe files.
        options: Of the door.
        identity: Who it is.
    """

    def __init__(
        self, room: EngineRoom, jobs: Jobs, *, options: SilaOptions, identity: Identity
    ) -> None:
        super().__init__(_config(options, identity))
        self.transfers = BoundedTransfers(self, options.transfers)
        self._binary_transfer_handler = self.transfers
        self.runs = Runs(options.runs, self._forget)
        for feature in cell_features(room, jobs, self.runs, options.runs):
            self.register_feature(feature)
        self.register_feature(cancel_feature(self.runs))

    @property
    def port(self) -> int:
        """The port that it listens to, once it has started."""
        return int(self._address.rpartition(":")[2])

    def add_command_execution(self, command_execution: CommandExecution[Any]) -> None:
        """Remember a command that begins; called by the library.

        The library's own looks through all that it remembers each time.
        """
        self.command_executions[command_execution.command_execution_uuid] = command_execution
        self.runs.open(command_execution)

    def _forget(self, run: Run) -> None:
        self.remove_command_execution(run.execution)


def _config(options: SilaOptions, identity: Identity) -> ServerConfig:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return ServerConfig(
        hostname=host,
        port=options.port,
        tls=not options.insecure,
        private_key=identity.key,
        certificate_chain=identity.certificate,
        root_certificates=identity.client_authority,
        require_client_auth=identity.client_authority is not None,
        uuid=identity.uuid,
        name=options.name,
        type=SERVER_TYPE,
        description=f"Describes single cells in words, from their RNA counts. {INTENDED_USE}",
        version=sila_version(c2t.__version__),
        vendor_url=VENDOR_URL,
        options={
            # Two servers at one port would each get some of the calls, and nobody would notice.
            "grpc.so_reuseport": False,
            "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
            "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
            "grpc.max_concurrent_streams": STREAMS_MAX,
            "grpc.max_allowed_incoming_connections": CONNECTIONS_MAX,
        },
    )


def sila_version(version: str) -> str:
    """A version of Python's kind as SiLA 2 writes it: "0.2.0.dev3" is "0.2.0_dev3"."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return "0.0"
    rest = re.sub("[^A-Za-z0-9]+", "_", match[2]).strip("_")
    return f"{match[1]}_{rest}" if rest else match[1]
