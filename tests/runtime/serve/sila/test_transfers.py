"""Large values: limited in size and number, and freed as soon as they are used."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref
from pathlib import Path

import msgspec
import pytest
from serve_cells import anndata_of, counts, described
from sila.framework import (
    BinaryDownloadFailed,
    BinaryUploadFailed,
    CreateBinaryRequest,
    DeleteBinaryRequest,
    DownloadChunkRequest,
    GetBinaryInfoRequest,
    InvalidBinaryTransferUUID,
    UploadChunkRequest,
    ValidationError,
)
from sila_door import FEATURE, NOTHING, body, client_of, eventually, lines, opened, responses

from c2t.runtime.serve.sila.options import TransferLimits

CELLS = f"{FEATURE}/Command/DescribeCells/Parameter/Cells"
DATA = f"{FEATURE}/Command/DescribeFile/Parameter/Data"
MIB = 1 << 20


async def begin(client, size: int, chunks: int, parameter: str = CELLS) -> str:
    """Begin an upload by hand."""
    request = CreateBinaryRequest(
        binary_size=size, chunk_count=chunks, parameter_identifier=parameter
    )
    return (await client.binary_transfer_handler.create_binary(request)).binary_transfer_uuid


async def send(client, name: str, index: int, content: bytes) -> None:
    """Send a piece."""
    await client.binary_transfer_handler.upload_chunk(
        UploadChunkRequest(binary_transfer_uuid=name, chunk_index=index, payload=content)
    )


def large_body(values, mib: int) -> bytes:
    """Cells as JSON of so many bytes: spaces between two tokens mean nothing."""
    content = body(values)
    return content[:-1] + b" " * (mib * MIB - len(content)) + content[-1:]


def test_large_values_are_uploaded_and_their_memory_comes_back(
    room, jobs, model, tmp_path: Path, allowed: Path
) -> None:
    values = counts(2)
    wanted = lines(described(model, values))
    path = allowed / "cells.h5ad"
    anndata_of(values).write_h5ad(path)
    cells, file = large_body(values, 12), path.read_bytes() + bytes(8 * MIB)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            feature, transfers = client.CellDescription, door.server.transfers

            async def both() -> None:
                execution = await feature.DescribeCells(Cells=cells, Settings="")
                assert (await responses(execution))["Results"] == wanted
                sent = {"Data": file, "FileName": "cells.h5ad"}
                execution = await feature.DescribeFile(**NOTHING | sent)
                assert (await responses(execution))["Results"] == wanted
                refused = await feature.DescribeCells(Cells=b"!" + cells, Settings="")
                with pytest.raises(Exception, match="Cells cannot be read"):
                    await responses(refused)

            await both()
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                for _ in range(4):
                    await both()
                    assert len(transfers) == 0
                gc.collect()
                after, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak - before > 12 * MIB  # the measuring sees an upload
            assert after - before < 4 * MIB  # of 128 MiB that were sent
            assert len(door.server.runs) == 15  # and nothing of it was forgotten for that

    asyncio.run(run())


def test_a_value_that_a_command_took_is_gone(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            content, transfers = body(counts(1)), door.server.transfers
            name = await begin(client, len(content), 2)
            half = len(content) // 2
            await send(client, name, 0, content[:half])
            await send(client, name, 1, content[half:])
            kept = weakref.ref(transfers._binaries[name])
            assert await transfers.get_binary(name) == content
            assert kept() is None
            with pytest.raises(ValueError, match="unknown"):
                await transfers.get_binary(name)
            # Clients that tidy up must not be told off.
            await client.binary_transfer_handler.delete_binary(
                DeleteBinaryRequest(binary_transfer_uuid=name), uploaded=True
            )

    asyncio.run(run())


def test_what_no_command_takes_is_dropped_in_time(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        limits = TransferLimits(upload_seconds=0.3)
        async with (
            opened(room, jobs, tmp_path, transfers=limits) as door,
            client_of(door) as client,
        ):
            name = await begin(client, MIB, 1)
            await send(client, name, 0, bytes(MIB))
            kept = weakref.ref(door.server.transfers._binaries[name])
            await eventually(lambda: len(door.server.transfers) == 0)
            assert kept() is None
            with pytest.raises(InvalidBinaryTransferUUID):
                await send(client, name, 0, b"")

    asyncio.run(run())


def test_uploads_are_limited_in_size_and_number(room, jobs, tmp_path: Path) -> None:
    limits = TransferLimits(uploads=3, uploads_bytes=5 * MIB, upload_bytes=2 * MIB)

    async def refused(client, size: int, chunks: int, why: str, parameter: str = DATA) -> None:
        with pytest.raises(BinaryUploadFailed) as caught:
            await begin(client, size, chunks, parameter)
        assert why in str(caught.value)

    async def run() -> None:
        async with (
            opened(room, jobs, tmp_path, transfers=limits) as door,
            client_of(door) as client,
        ):
            transfers = door.server.transfers
            await refused(client, 2 * MIB + 1, 2, "at most 2,097,152 are taken\nhint: put the file")
            await refused(client, 1 << 60, 1, "at most")
            await refused(client, MIB, 4097, "4,097 pieces; 1 to 4,096")
            await refused(client, MIB, (1 << 32) - 1, "pieces")
            await refused(client, MIB, 0, "0 pieces")
            await refused(client, 1, 1, "known", f"{FEATURE}/Command/None/Parameter/Cells")
            await refused(client, 1, 1, "valid", "Cells")
            await refused(client, 1, 1, "'Binary'", DATA.replace("/Data", "/FilePath"))
            assert len(transfers) == 0
            names = [await begin(client, 2 * MIB, 1) for _ in range(2)]
            await refused(client, 2 * MIB, 1, "2 uploads of 4,194,304 bytes are under way")
            names.append(await begin(client, 1, 1))
            await refused(client, 1, 1, "3 uploads")
            await client.binary_transfer_handler.delete_binary(
                DeleteBinaryRequest(binary_transfer_uuid=names[0]), uploaded=True
            )
            await begin(client, 2 * MIB, 1)

    asyncio.run(run())


def test_an_upload_that_is_longer_than_it_said_is_dropped(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            transfers = door.server.transfers
            name = await begin(client, 10, 4096)
            await send(client, name, 0, bytes(10))
            with pytest.raises(BinaryUploadFailed, match="announced 10"):
                await send(client, name, 1, bytes(2 * MIB))
            assert len(transfers) == 0
            with pytest.raises(InvalidBinaryTransferUUID):
                await send(client, name, 2, b"")
            # One that is shorter is found when a command takes it.
            name = await begin(client, 10, 1)
            await send(client, name, 0, bytes(9))
            with pytest.raises(ValueError, match="9 bytes and announced 10"):
                await transfers.get_binary(name)
            assert len(transfers) == 0
            for strange in ("", "x", "../../etc/passwd", "\0"):
                with pytest.raises(InvalidBinaryTransferUUID):
                    await send(client, strange, 0, b"")

    asyncio.run(run())


def test_an_unfinished_upload_is_no_parameter(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            name = await begin(client, 20, 2)
            await send(client, name, 0, bytes(10))
            command = door.server.get_feature(FEATURE).commands["DescribeCells"]
            text = name.encode()
            cells = bytes([18, len(text)]) + text
            request = bytes([10, len(cells)]) + cells + bytes([18, 2, 10, 0])
            with pytest.raises(ValidationError, match="incomplete"):
                await command.initiate(request)

    asyncio.run(run())


def test_large_results_are_fetched_in_pieces_and_make_room(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        limits = TransferLimits(downloads_bytes=7 * MIB, download_seconds=0.5)
        async with (
            opened(room, jobs, tmp_path, transfers=limits) as door,
            client_of(door) as client,
        ):
            server, handler = door.server.transfers, client.binary_transfer_handler
            contents = [bytes([number]) * (3 * MIB + number) for number in range(3)]
            names = [await server.set_binary(content) for content in contents]
            assert len(server) == 2
            with pytest.raises(InvalidBinaryTransferUUID):
                await handler.get_binary_info(GetBinaryInfoRequest(binary_transfer_uuid=names[0]))
            assert await handler.get_binary(names[1]) == contents[1]
            assert await handler.get_binary(names[2]) == contents[2]
            for offset, length in ((0, 3 * MIB), (4 * MIB, 1)):
                with pytest.raises(BinaryDownloadFailed):
                    await handler.download_chunk(
                        DownloadChunkRequest(
                            binary_transfer_uuid=names[2], offset=offset, length=length
                        )
                    )
            kept = weakref.ref(server._binaries[names[2]])
            await eventually(lambda: len(server) == 0)
            # gRPC holds on to its newest call, and the refused ones to their stacks.
            await client.get_server_name()
            gc.collect()
            assert kept() is None

    asyncio.run(run())


def test_results_beyond_2_mib_reach_the_client(room, jobs, tmp_path: Path) -> None:
    values = counts(1)
    (cell,) = msgspec.json.decode(body(values))
    # Signs that JSON writes in six bytes make long results of short texts.
    cells = [cell | {"id": f"{number:05d}" + "\x01" * 250} for number in range(1450)]

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=msgspec.json.encode(cells), Settings='{"max_new_tokens": 1}'
            )
            final = await responses(execution)
            assert len(final["Results"]) > 2 * MIB
            found = [msgspec.json.decode(line)["cell"] for line in final["Results"].splitlines()]
            assert found == [cell["id"] for cell in cells]
            assert (final["Count"], final["Returned"]) == (1450, 1450)
            assert len(door.server.transfers) == 1  # until its time is over
            assert (await responses(execution))["Results"] == final["Results"]
            run = door.server.runs.find(execution.command_execution_uuid)
            assert run.bytes > 2 * MIB
            first = await client.CellDescription.GetResults(JobId=run.id, First=0, Count=10_000)
            assert first["Results"] == final["Results"][: len(first["Results"])]
            assert 0 < len(first["Results"]) <= MIB
            assert first["Returned"] == first["Results"].count(b"\n")
            transfers = door.server.transfers
        assert len(transfers) == 0  # a door that is closed keeps nothing

    asyncio.run(run())
