"""The commands Describe File and Get Results, through a real client."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from decoder_gate import Gate
from serve_cells import anndata_of, counts, described
from sila.framework import DefinedExecutionError
from sila_door import NOTHING, client_of, eventually, lines, opened, refusal, responses

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.sila.options import RunLimits

CELLS = 30


@pytest.fixture
def values():
    return counts(CELLS)


@pytest.fixture
def file(allowed: Path, values) -> Path:
    path = allowed / "cells.h5ad"
    anndata_of(values).write_h5ad(path)
    return path


def test_a_file_is_described_by_its_path_and_by_its_bytes(
    room, jobs, model, tmp_path: Path, values, file: Path
) -> None:
    wanted = lines(described(model, values))

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            command = client.CellDescription.DescribeFile
            by_path = await command(**NOTHING | {"FilePath": str(file)})
            final = await responses(by_path)
            assert final["Results"] == wanted
            assert (final["Count"], final["Failed"], final["Returned"]) == (CELLS, 0, CELLS)
            assert jobs.get(final["JobId"]).source == "path"
            sent = {"Data": file.read_bytes(), "FileName": "sent.h5ad"}
            by_bytes = await responses(await command(**NOTHING | sent))
            assert by_bytes["Results"] == wanted
            assert jobs.get(by_bytes["JobId"]).name == "sent.h5ad"
            for name in (by_path.command_execution_uuid, by_bytes["JobId"]):
                results = await client.CellDescription.GetResults(JobId=name, First=10, Count=5)
                assert results["Results"] == b"".join(wanted.splitlines(keepends=True)[10:15])
                assert (results["State"], results["Problem"]) == ("done", "")
                assert (results["Done"], results["Total"], results["Returned"]) == (CELLS, CELLS, 5)

    asyncio.run(run())


def test_reading_and_settings_are_used(
    room, jobs, model, tmp_path: Path, values, file: Path
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            chosen = {"Settings": '{"max_new_tokens": 3}', "Reading": '{"limit": 2}'}
            execution = await client.CellDescription.DescribeFile(
                **NOTHING | chosen | {"FilePath": str(file)}
            )
            final = await responses(execution)
            options = c2t.DescribeOptions(max_new_tokens=3)
            assert final["Results"] == lines(described(model, values[:2], options))

    asyncio.run(run())


def test_progress_and_the_name_of_the_job_are_told(
    room, jobs, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        limits = RunLimits(look_seconds=0.001)
        async with opened(room, jobs, tmp_path, runs=limits) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            execution = await client.CellDescription.DescribeFile(
                **NOTHING | {"FilePath": str(file)}
            )
            statuses = await execution.subscribe_status()
            stream = await execution.subscribe_intermediate_responses()
            await asyncio.to_thread(gate.reached.wait, 60)
            gate.open()
            told = [dict(response) async for response in stream]
            progress = [status.progress.value async for status in statuses if status.progress]
            final = await execution.get_responses()
            assert {response["JobId"] for response in told} == {final["JobId"]}
            assert [response["Done"] for response in told] == sorted(
                response["Done"] for response in told
            )
            assert told[-1]["Count"] == CELLS
            assert progress == sorted(progress)
            assert any(0 < value < 1 for value in progress)

    asyncio.run(run())


def test_a_job_outlives_its_client_and_the_server(
    room, model, tmp_path: Path, allowed: Path, values, file: Path, monkeypatch
) -> None:
    options = JobOptions(folder=tmp_path / "jobs", allowed=(allowed,))
    wanted = lines(described(model, values))

    async def begin() -> str:
        jobs = Jobs(room, options)
        jobs.start()
        with monkeypatch.context() as patched:
            async with opened(room, jobs, tmp_path) as door:
                gate = Gate(patched)
                async with client_of(door) as client:
                    execution = await client.CellDescription.DescribeFile(
                        **NOTHING | {"FilePath": str(file)}
                    )
                    await asyncio.to_thread(gate.reached.wait, 60)
                run = door.server.runs.find(execution.command_execution_uuid)
                job_id = run.job.id
                gate.open()
            assert run.state in ("failed", "done")  # the server stopped while it ran, or just after
        await asyncio.to_thread(jobs.close)
        return job_id

    async def go_on(job_id: str) -> None:
        jobs = Jobs(room, options)
        jobs.start()
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            await eventually(lambda: jobs.get(job_id).has_ended)
            results = await client.CellDescription.GetResults(JobId=job_id, First=0, Count=1000)
            assert results["State"] == "done"
            assert results["Results"] == wanted
        jobs.close()

    asyncio.run(go_on(asyncio.run(begin())))


def test_what_cannot_be_described_is_refused_in_two_lines(
    room, jobs, tmp_path: Path, allowed: Path, file: Path
) -> None:
    secret = tmp_path / "secret.h5ad"
    secret.write_bytes(file.read_bytes())
    (allowed / "link.h5ad").symlink_to(secret)
    (allowed / "folder.h5ad").mkdir()
    os.mkfifo(allowed / "pipe.h5ad")
    (allowed / "notes.h5ad").write_text("not HDF5")
    path, data = str(file), file.read_bytes()
    cases = {
        "outside": ({"FilePath": str(secret)}, "PathRefused"),
        "upwards": ({"FilePath": f"{allowed}/../secret.h5ad"}, "PathRefused"),
        "a link outside": ({"FilePath": str(allowed / "link.h5ad")}, "PathRefused"),
        "relative": ({"FilePath": "cells.h5ad"}, "PathRefused"),
        "missing": ({"FilePath": str(allowed / "none.h5ad")}, "PathRefused"),
        "a folder": ({"FilePath": str(allowed / "folder.h5ad")}, "PathRefused"),
        "a pipe": ({"FilePath": str(allowed / "pipe.h5ad")}, "PathRefused"),
        "a NUL": ({"FilePath": f"{allowed}/cells\0.h5ad"}, "PathRefused"),
        "a device": ({"FilePath": "/dev/zero"}, "PathRefused"),
        "no HDF5": ({"FilePath": str(allowed / "notes.h5ad")}, None),
        "both": ({"FilePath": path, "Data": data, "FileName": "a.h5ad"}, "InputRefused"),
        "neither": ({}, "InputRefused"),
        "no name": ({"Data": data}, "InputRefused"),
        "a name with a folder": ({"Data": data, "FileName": "../../a.h5ad"}, "InputRefused"),
        "bytes that are no file": ({"Data": b"nothing", "FileName": "a.h5ad"}, None),
        "settings": ({"FilePath": path, "Settings": "{"}, "InputRefused"),
        "reading": ({"FilePath": path, "Reading": '{"limit": 0}'}, "InputRefused"),
        "a layer": ({"FilePath": path, "Reading": '{"layer": "none"}'}, None),
    }

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            for name, (parameters, wanted) in cases.items():
                execution = await client.CellDescription.DescribeFile(**NOTHING | parameters)
                kind, said = await refusal(execution)
                assert kind in ((wanted,) if wanted else ("InputRefused", "JobFailed")), name
                assert len(said) == 2, (name, said)
                assert str(tmp_path / "jobs") not in " ".join(said), (name, said)

    asyncio.run(run())


def test_unknown_jobs_are_refused(room, jobs, tmp_path: Path) -> None:
    names = ("0" * 32, "00000000-0000-4000-8000-000000000000", "", "../../etc/passwd", "a\0b")

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            for name in names:
                with pytest.raises(DefinedExecutionError) as caught:
                    await client.CellDescription.GetResults(JobId=name, First=0, Count=1)
                assert caught.value.identifier == "JobUnknown", name
                assert len(str(caught.value).splitlines()) == 2, name

    asyncio.run(run())


def test_a_job_that_somebody_removes_ends_its_command(
    room, jobs, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            execution = await client.CellDescription.DescribeFile(
                **NOTHING | {"FilePath": str(file)}
            )
            await asyncio.to_thread(gate.reached.wait, 60)
            run = door.server.runs.find(execution.command_execution_uuid)
            removing = asyncio.create_task(asyncio.to_thread(jobs.delete, run.job.id))
            await asyncio.sleep(0)
            gate.open()
            await removing
            kind, said = await refusal(execution)
            assert kind in ("JobUnknown", "Cancelled")
            assert len(said) == 2

    asyncio.run(run())
