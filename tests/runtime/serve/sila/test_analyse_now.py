"""The commands Annotate Now and Explain Now, through a real client: one call, one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from explain_bundle import model_with_fields
from held_analyses import LABELS, HeldAnalyses, until_waiting
from serve_cells import counted_cells, counts
from sila.framework import DefinedExecutionError, SiLAError
from sila_door import body, client_of, opened

import c2t
from c2t.runtime.serve.room import analyses as module
from c2t.runtime.serve.room.analysis_messages import (
    ANNOTATED_MAX,
    EXPLAINED_MAX,
    AnnotateRequest,
    EvidenceSettings,
    ExplainRequest,
)
from c2t.runtime.serve.room.room import EngineRoom

ANNOTATE = {"Labels": LABELS, "Top": 2, "Settings": ""}
EXPLAIN = {"Evidence": "", "Settings": ""}


@pytest.fixture
def held(model: c2t.Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldAnalyses]:
    held = HeldAnalyses(monkeypatch, model)
    yield held
    held.open()


def parsed(lines: bytes) -> list[Any]:
    return [msgspec.json.decode(line) for line in lines.splitlines()]


def test_labels_are_those_of_the_room(room: EngineRoom, jobs, tmp_path: Path) -> None:
    values = counts(4)
    values[2] = 0  # a cell that has none
    request = AnnotateRequest(cells=counted_cells(values), labels=LABELS, top=2)
    wanted = room.analyses.annotate(request)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            found = await client.CellDescription.AnnotateNow(Cells=body(values), **ANNOTATE)
            assert parsed(found["Results"]) == msgspec.to_builtins(wanted.cells)
            assert (found["Count"], found["Failed"]) == (4, 1)
            assert found["Warnings"] == wanted.warnings

    asyncio.run(run())


def test_evidence_is_that_of_the_room(tiny_bundle_folder: Path, jobs, tmp_path: Path) -> None:
    values = counts(4)
    evidence = EvidenceSettings(runs=64, genes=5)
    request = ExplainRequest(cells=counted_cells(values), evidence=evidence)

    async def run(room: EngineRoom) -> None:
        wanted = room.analyses.explain(request).cells
        failed = sum(cell.error is not None for cell in wanted)
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            found = await client.CellDescription.ExplainNow(
                Cells=body(values), Evidence='{"runs": 64, "genes": 5}', Settings=""
            )
            assert parsed(found["Results"]) == msgspec.to_builtins(wanted)
            assert (found["Count"], found["Failed"]) == (4, failed)
            assert failed < 3  # others have genes
            assert all(cell.error or len(cell.genes) == 5 for cell in wanted)

    with model_with_fields(tiny_bundle_folder, tmp_path) as model:
        room = EngineRoom(model)
        asyncio.run(run(room))
        room.close()


def test_a_long_answer_arrives(room: EngineRoom, jobs, tmp_path: Path) -> None:
    """More than 2 MiB: it goes as a binary transfer."""
    labels = [f"T cell {number}" for number in range(220)]

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            found = await client.CellDescription.AnnotateNow(
                Cells=body(counts(ANNOTATED_MAX)), Labels=labels, Top=220, Settings=""
            )
            assert len(found["Results"]) > 2 << 20
            cells = parsed(found["Results"])
            assert [len(cell["top"]) for cell in cells] == [220] * ANNOTATED_MAX

    asyncio.run(run())


@pytest.mark.parametrize(
    ("command", "changes", "problem"),
    [
        ("AnnotateNow", {"Cells": b"{"}, "Cells"),
        ("AnnotateNow", {"Cells": b"[]"}, "Cells"),
        ("AnnotateNow", {"Cells": b'[{"counts": {"NOGENE": 1}}]'}, "gene"),
        ("AnnotateNow", {"Cells": b'[{"counts": {"A": 1, "A": 1}}]'}, "'A' stands twice"),
        ("AnnotateNow", {"Cells": body(counts(ANNOTATED_MAX + 1))}, "257 cells, at most 256"),
        ("AnnotateNow", {"Labels": ["a", "b", "a"]}, "'a'"),
        ("AnnotateNow", {"Settings": '{"num_beams": 2}'}, "Settings"),
        ("ExplainNow", {"Cells": body(counts(EXPLAINED_MAX + 1))}, "17 cells, at most 16"),
        ("ExplainNow", {"Evidence": '{"field": "mood"}'}, "mood"),
        ("ExplainNow", {"Evidence": '{"runs": 1}'}, "Evidence"),
        ("ExplainNow", {"Settings": "["}, "Settings"),
    ],
)
def test_what_cannot_be_right_is_refused(
    room, jobs, tmp_path: Path, command: str, changes: dict[str, Any], problem: str
) -> None:
    parameters = {
        "Cells": body(counts(1)),
        **(ANNOTATE if command == "AnnotateNow" else EXPLAIN),
        **changes,
    }

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            with pytest.raises(DefinedExecutionError) as caught:
                await getattr(client.CellDescription, command)(**parameters)
            assert caught.value.identifier == "InputRefused"
            said, hint = str(caught.value).splitlines()
            assert problem in said
            assert hint.startswith("hint: ")

    asyncio.run(run())


@pytest.mark.parametrize(
    "changes", [{"Labels": []}, {"Labels": [""]}, {"Labels": ["x" * 201]}, {"Top": 0}]
)
def test_what_the_definition_does_not_allow_is_refused(
    room, jobs, tmp_path: Path, changes: dict[str, Any]
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            parameters = {"Cells": body(counts(1)), **ANNOTATE, **changes}
            with pytest.raises((SiLAError, ValueError)):
                await client.CellDescription.AnnotateNow(**parameters)

    asyncio.run(run())


def test_a_client_that_ends_the_call_ends_the_command(
    room: EngineRoom, jobs, tmp_path: Path, held: HeldAnalyses
) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            commands = client.CellDescription
            first = asyncio.create_task(commands.AnnotateNow(Cells=body(counts(1)), **ANNOTATE))
            assert await asyncio.to_thread(held.reached.wait, 60)
            second = asyncio.create_task(commands.ExplainNow(Cells=body(counts(1)), **EXPLAIN))
            await asyncio.to_thread(until_waiting, room, 2)
            short = await commands.DescribeNow(Cells=body(counts(1)), Settings="")
            assert short["Count"] == 1  # meanwhile
            second.cancel()
            await asyncio.to_thread(until_waiting, room, 1)
            first.cancel()
            await asyncio.sleep(0.2)  # until the server has heard of it
            held.open()
            await asyncio.to_thread(until_waiting, room, 0)
            assert await asyncio.to_thread(room.drain, 60)

    asyncio.run(run())


def test_too_many_are_refused(
    room: EngineRoom, jobs, tmp_path: Path, held: HeldAnalyses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 0)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            commands = client.CellDescription
            first = asyncio.create_task(commands.AnnotateNow(Cells=body(counts(1)), **ANNOTATE))
            assert await asyncio.to_thread(held.reached.wait, 60)
            with pytest.raises(DefinedExecutionError) as caught:
                await commands.ExplainNow(Cells=body(counts(1)), **EXPLAIN)
            assert caught.value.identifier == "Overloaded"
            held.open()
            assert (await first)["Count"] == 1

    asyncio.run(run())
