"""Cancelling, by SiLA's own feature: between two tokens, and said to all who wait."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from decoder_gate import Gate
from serve_cells import anndata_of, counts
from sila.framework import DefinedExecutionError
from sila_door import NOTHING, body, client_of, eventually, opened, refusal, responses

import c2t
from c2t.runtime.serve.room.observer import NoObserver
from c2t.runtime.serve.room.room import EngineRoom


class Outcomes(NoObserver):
    """Counts what became of cells."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def cell_done(self, outcome) -> None:
        self.seen.append(outcome)


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def room(model: c2t.Model, outcomes: Outcomes):
    room = EngineRoom(model, observer=outcomes)
    room.warm_up()
    yield room
    room.close()


def test_cells_leave_between_two_tokens(
    room, jobs, tmp_path: Path, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(8)), Settings=""
            )
            await asyncio.to_thread(gate.reached.wait, 60)
            name = execution.command_execution_uuid
            await client.CancelController.CancelCommand(CommandExecutionUUID=name)
            kind, said = await refusal(execution)
            assert (kind, said[0]) == ("Cancelled", "the command was cancelled")
            assert len(said) == 2
            results = await client.CellDescription.GetResults(JobId=name, First=0, Count=8)
            assert (results["State"], results["Done"], results["Total"]) == ("cancelled", 0, 8)
            gate.open()
            await eventually(lambda: len(outcomes.seen) >= 8)
            assert outcomes.seen == ["cancelled"] * 8
            # The room is empty, and describes the next cell.
            steps = gate.steps
            again = await client.CellDescription.DescribeCells(Cells=body(counts(1)), Settings="")
            assert (await responses(again))["Count"] == 1
            assert steps < gate.steps

    asyncio.run(run())


def test_a_job_is_cancelled_with_its_command(
    room, jobs, tmp_path: Path, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = allowed / "cells.h5ad"
    anndata_of(counts(20)).write_h5ad(path)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            execution = await client.CellDescription.DescribeFile(
                **NOTHING | {"FilePath": str(path)}
            )
            await asyncio.to_thread(gate.reached.wait, 60)
            run = door.server.runs.find(execution.command_execution_uuid)
            await client.CancelController.CancelAll()
            # It stops though the decoder is held back; else it could end before it is cancelled.
            await eventually(lambda: jobs.get(run.job.id).state == "cancelled")
            gate.open()
            kind, _ = await refusal(execution)
            assert kind == "Cancelled"
            assert jobs.get(run.job.id).state == "cancelled"
            results = await client.CellDescription.GetResults(JobId=run.id, First=0, Count=1)
            assert results["State"] == "cancelled"

    asyncio.run(run())


def test_only_what_runs_can_be_cancelled(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(1)), Settings=""
            )
            await responses(execution)
            for name in (execution.command_execution_uuid, str(uuid.uuid4())):
                with pytest.raises(DefinedExecutionError) as caught:
                    await client.CancelController.CancelCommand(CommandExecutionUUID=name)
                assert caught.value.identifier == "InvalidCommandExecutionUUID"
            await client.CancelController.CancelAll()

    asyncio.run(run())


def test_stopping_gives_up_what_runs_after_its_grace(
    room, jobs, tmp_path: Path, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            await client.CellDescription.DescribeCells(Cells=body(counts(3)), Settings="")
            await asyncio.to_thread(gate.reached.wait, 60)
            (run,) = door.server.runs.running
            await door.stop(grace_seconds=0.05)
            assert run.state == "failed"
            assert run.problem.splitlines()[0] == "the service stopped"
            gate.open()
            await eventually(lambda: len(outcomes.seen) >= 3)
            assert outcomes.seen == ["cancelled"] * 3

    asyncio.run(run())
