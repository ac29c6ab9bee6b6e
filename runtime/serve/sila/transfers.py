"""Large values, which SiLA 2 sends in pieces: limited, and freed as soon as they are used.

One decision: an upload belongs to one command. The library keeps what was sent for ever; here it
goes when a command has taken it, when its time is over, or when it breaks a limit.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import OrderedDict, deque
from typing import Any

from sila.framework import (
    BinaryTransfer,
    BinaryUploadFailed,
    CreateBinaryRequest,
    CreateBinaryResponse,
    DeleteBinaryRequest,
    DeleteBinaryResponse,
    Duration,
    Execution,
    UploadChunkRequest,
    UploadChunkResponse,
)
from sila.server import BinaryTransferHandler, Server

from c2t.runtime.serve.sila.errors import two_lines
from c2t.runtime.serve.sila.options import TransferLimits

TAKEN_MAX = 1024  # uploads that are remembered after their command took them


class BoundedTransfers(BinaryTransferHandler):
    """The library's handler of large values, within limits. Only the event loop uses it.

    Args:
        server: The server that it belongs to.
        limits: See `TransferLimits`.
    """

    def __init__(self, server: Server, limits: TransferLimits) -> None:
        super().__init__(server)
        self._limits = limits
        self._uploads: dict[str, int] = {}  # bytes that came so far
        self._downloads: OrderedDict[str, int] = OrderedDict()  # bytes, the oldest first
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._taken: deque[str] = deque(maxlen=TAKEN_MAX)

    def __len__(self) -> int:
        return len(self._binaries)

    async def create_binary(
        self, request: CreateBinaryRequest, metadata: dict[str, bytes] | None = None
    ) -> CreateBinaryResponse:
        """Begin an upload.

        Raises:
            BinaryUploadFailed: It is too large, or too many are under way.
        """
        self._check(request)
        response = await super().create_binary(request, metadata)
        seconds = self._limits.upload_seconds
        self._binaries[response.binary_transfer_uuid].valid_for = seconds
        self._uploads[response.binary_transfer_uuid] = 0
        self._drop_later(response.binary_transfer_uuid, seconds)
        return dataclasses.replace(
            response, lifetime_of_binary=Duration.from_total_seconds(seconds)
        )

    async def upload_chunk(self, request: UploadChunkRequest) -> UploadChunkResponse:
        """Keep a piece of an upload.

        Raises:
            InvalidBinaryTransferUUID: There is no such upload any more.
            BinaryUploadFailed: It has more bytes than it announced; it is dropped.
        """
        name = request.binary_transfer_uuid
        binary = self.get_binary_by_uuid(name)
        came = self._uploads.get(name, 0) + len(request.payload)
        if name not in self._uploads or came > binary.size:
            # The library says the same, but after it has kept the piece.
            self.drop(name)
            problem = f"the upload has {came:,} bytes and announced {binary.size:,}"
            raise _refused(problem, "announce all its bytes")
        response = await super().upload_chunk(request)
        self._uploads[name] = came
        return response

    async def get_binary(
        self,
        binary_transfer_uuid: str,
        *,
        context: Any = None,
    ) -> bytes:
        """Take an upload for a command; it is not kept any longer.

        Raises:
            ValueError: There is none, or it is not complete.
        """
        content = await super().get_binary(binary_transfer_uuid, context=context)
        announced = self._binaries[binary_transfer_uuid].size
        self.drop(binary_transfer_uuid)
        self._taken.append(binary_transfer_uuid)
        if len(content) != announced:
            msg = f"the upload has {len(content):,} bytes and announced {announced:,}"
            raise ValueError(msg)
        return content

    async def set_binary(
        self,
        value: bytes,
        execution: Execution | None = None,
        *,
        context: Any = None,
    ) -> str:
        """Keep results until they are fetched, their time is over, or others need the room."""
        limits = self._limits
        # In one piece: the library puts all pieces together for each one that is fetched.
        binary = BinaryTransfer(size=len(value), chunks=[value], valid_for=limits.download_seconds)
        name = binary.binary_transfer_uuid
        while (
            self._downloads and sum(self._downloads.values()) + len(value) > limits.downloads_bytes
        ):
            self.drop(next(iter(self._downloads)))
        self._binaries[name] = binary
        self._downloads[name] = len(value)
        self._drop_later(name, limits.download_seconds)
        return name

    async def delete_binary(self, request: DeleteBinaryRequest) -> DeleteBinaryResponse:
        """Drop a value. One that a command has taken is gone already, and that is no error.

        Raises:
            InvalidBinaryTransferUUID: There never was one, or its time is over.
        """
        if request.binary_transfer_uuid in self._taken:
            return DeleteBinaryResponse()
        response = await super().delete_binary(request)
        self.drop(request.binary_transfer_uuid)
        return response

    def drop(self, name: str) -> None:
        """Free a value, if it is there."""
        self._binaries.pop(name, None)
        self._uploads.pop(name, None)
        self._downloads.pop(name, None)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def drop_all(self) -> None:
        """Free everything."""
        for name in list(self._binaries):
            self.drop(name)

    def _drop_later(self, name: str, seconds: float) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, self.drop, name)

    def _check(self, request: CreateBinaryRequest) -> None:
        limits = self._limits
        size, chunks = request.binary_size, request.chunk_count
        if size > limits.upload_bytes:
            problem = f"the upload has {size:,} bytes; at most {limits.upload_bytes:,} are taken"
            hint = "put the file into a folder that the server may read, and send its path"
            raise _refused(problem, hint)
        if not 0 < chunks <= limits.upload_chunks:
            problem = f"the upload has {chunks:,} pieces; 1 to {limits.upload_chunks:,} are taken"
            raise _refused(problem, "send pieces of up to 2 MiB")
        under_way = sum(self._binaries[name].size for name in self._uploads)
        if len(self._uploads) >= limits.uploads or under_way + size > limits.uploads_bytes:
            problem = f"{len(self._uploads)} uploads of {under_way:,} bytes are under way already"
            hint = f"wait until their commands have begun, at most {limits.upload_seconds:g} s"
            raise _refused(problem, hint)


def _refused(problem: str, hint: str) -> BinaryUploadFailed:
    return BinaryUploadFailed(two_lines(problem, hint))
