"""What Describe Cells keeps for those who listen late, and for how long."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from decoder_gate import Gate
from serve_cells import counts, described
from sila.framework import InvalidCommandExecutionUUID
from sila_door import (
    body,
    client_of,
    eventually,
    lines,
    listen,
    opened,
    responses,
)

from c2t.runtime.serve.sila.options import RunLimits


def test_a_late_listener_gets_all_cells_and_a_gone_one_disturbs_nobody(
    room, jobs, model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = counts(6)
    wanted = described(model, values)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            async with client_of(door) as gone:
                gate = Gate(monkeypatch)
                execution = await gone.CellDescription.DescribeCells(
                    Cells=body(values), Settings=""
                )
                await execution.subscribe_intermediate_responses()
                await asyncio.to_thread(gate.reached.wait, 60)
            name = execution.command_execution_uuid
            run = door.server.runs.find(name)
            feature = client.CellDescription
            results = await feature.GetResults(JobId=name, First=0, Count=10)
            assert (results["State"], results["Done"], results["Total"]) == ("running", 0, 6)
            gate.open()
            await eventually(lambda: run.ended is not None)
            results = await feature.GetResults(JobId=name, First=2, Count=3)
            assert (results["State"], results["Done"], results["Returned"]) == ("done", 6, 3)
            assert results["Results"] == lines(wanted[2:5])
            found = await listen(client, execution)
            assert sorted(response["Text"] for response in found) == sorted(
                one.text for one in wanted
            )
            assert not run._listeners
            assert not run._read

    asyncio.run(run())


def test_results_beyond_the_limit_are_left_to_get_results(
    room, jobs, model, tmp_path: Path
) -> None:
    values = counts(5)
    wanted = [lines([result]) for result in described(model, values)]
    limits = RunLimits(returned_bytes=len(wanted[0]) + len(wanted[1]))

    async def run() -> None:
        async with opened(room, jobs, tmp_path, runs=limits) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(Cells=body(values), Settings="")
            final = await responses(execution)
            assert (final["Count"], final["Returned"]) == (5, 2)
            assert final["Results"] == wanted[0] + wanted[1]
            rest = await client.CellDescription.GetResults(
                JobId=execution.command_execution_uuid, First=2, Count=10_000
            )
            assert rest["Results"] == b"".join(wanted[2:])

    asyncio.run(run())


def test_what_ended_is_dropped_when_there_is_too_much_of_it(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        limits = RunLimits(keep_runs=3)
        async with opened(room, jobs, tmp_path, runs=limits) as door, client_of(door) as client:
            names = []
            for number in range(5):
                execution = await client.CellDescription.DescribeCells(
                    Cells=body(counts(1, seed=number)), Settings=""
                )
                await responses(execution)
                names.append(execution.command_execution_uuid)
            assert len(door.server.runs) == 3
            assert list(door.server.command_executions) == names[2:]
            with pytest.raises(InvalidCommandExecutionUUID):
                door.server.get_command_execution(names[0])
            kind = None
            try:
                await client.CellDescription.GetResults(JobId=names[1], First=0, Count=1)
            except Exception as error:
                kind = type(error).__name__
            assert kind == "JobUnknown"

    asyncio.run(run())
