"""The command Describe Cells, through a real client."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from decoder_gate import Gate
from serve_cells import GENES, counts, described
from sila.framework import UndefinedExecutionError, ValidationError
from sila_door import (
    body,
    client_of,
    lines,
    listen,
    opened,
    refusal,
    responses,
)

import c2t
from c2t.runtime.serve.room.limits import RoomLimits
from c2t.runtime.serve.room.messages import CELLS_MAX, CellResult
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.sila.commands import submit
from c2t.runtime.serve.sila.options import RunLimits


def intermediate(place: int, result: CellResult) -> dict:
    def number(value: float | None) -> float:
        return -1.0 if value is None else value

    return {
        "Index": place,
        "CellId": result.cell,
        "Text": result.text or "",
        "Confidence": number(result.confidence),
        "CellTypeConfidence": number(result.cell_type_confidence),
        "GenesUsed": result.genes_used,
        "Error": result.error or "",
        "CellType": result.cell_type or "",
        "CellTypeOntologyTermId": result.cell_type_ontology_term_id or "",
        "Tissue": result.tissue or "",
        "TissueOntologyTermId": result.tissue_ontology_term_id or "",
        "Disease": result.disease or "",
        "DiseaseOntologyTermId": result.disease_ontology_term_id or "",
        "Sex": result.sex or "",
        "SexOntologyTermId": result.sex_ontology_term_id or "",
        "Age": result.age or "",
        "DevelopmentStageOntologyTermId": result.development_stage_ontology_term_id or "",
        "Pathways": result.pathways or "",
    }


def test_texts_come_one_by_one_and_all_at_the_end(room, jobs, model, tmp_path: Path) -> None:
    values = counts(7)
    values[3] = 0  # a cell that cannot be described
    wanted = described(model, values)
    assert wanted[3].error
    assert wanted[3].text is None

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(Cells=body(values), Settings="")
            found = await listen(client, execution)
            final = await responses(execution)
            assert await listen(client, execution) == found  # whoever comes late gets all of them
            found.sort(key=lambda response: response["Index"])
            assert found == [intermediate(place, one) for place, one in enumerate(wanted)]
            assert final["Results"] == lines(wanted)
            assert (final["Count"], final["Failed"], final["Returned"]) == (7, 1, 7)

    asyncio.run(run())


def test_progress_grows_as_cells_are_finished(
    room, jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        limits = RunLimits(look_seconds=0.001)
        async with opened(room, jobs, tmp_path, runs=limits) as door, client_of(door) as client:
            gate = Gate(monkeypatch)
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(24)), Settings=""
            )
            stream = await execution.subscribe_status()
            await asyncio.to_thread(gate.reached.wait, 60)
            gate.open()
            found = [status async for status in stream]
            progress = [float(status.progress.value) for status in found if status.progress]
            assert progress == sorted(progress)
            assert any(0 < value < 1 for value in progress)
            assert progress[-1] == 1
            assert all(status.updated_lifetime.total_seconds > 0 for status in found)

    asyncio.run(run())


def test_settings_are_those_of_describe(room, jobs, model, tmp_path: Path) -> None:
    values = counts(3)
    wanted = described(model, values, c2t.DescribeOptions(max_new_tokens=5, num_beams=2))

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=body(values), Settings='{"max_new_tokens": 5, "num_beams": 2}'
            )
            assert (await responses(execution))["Results"] == lines(wanted)

    asyncio.run(run())


def test_what_is_doubtful_is_said(room, jobs, tmp_path: Path) -> None:
    values = counts(2)
    cells = msgspec.json.decode(body(values))
    for cell in cells:
        cell["counts"] |= {f"ENSG{number:011d}": 5 for number in range(1000, 1050)}

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=msgspec.json.encode(cells), Settings=""
            )
            (warning,) = (await responses(execution))["Warnings"]
            assert "genes" in warning

    asyncio.run(run())


GOOD = [{"counts": {GENES[0]: 3}}]
REFUSED = {
    "no JSON": (b"cells", "", "Cells cannot be read"),
    "nothing": (b"", "", "Cells cannot be read"),
    "no list": (b'{"cells": []}', "", "Cells cannot be read"),
    "no cell": (b"[]", "", "length >= 1"),
    "no counts": (b"[{}]", "", "missing required field `counts`"),
    "a field too many": (b'[{"counts": {}, "gene": 1}]', "", "unknown field `gene`"),
    "a count below zero": (b'[{"counts": {"CD3E": -1}}]', "", ">= 0"),
    "deep": (b"[" * 100_000, "", "Cells cannot be read"),
    "broken UTF-8": (b'[{"counts": {"\xff": 1}}]', "", "Cells cannot be read"),
    "too many cells": (
        msgspec.json.encode([{"counts": {"A": 1}}] * (CELLS_MAX + 1)),
        "",
        f"length <= {CELLS_MAX}",
    ),
    "unknown genes": (b'[{"counts": {"XYZ": 4}}]', "", "gene"),
    "no settings": (msgspec.json.encode(GOOD), "[]", "Settings cannot be read"),
    "an unknown setting": (msgspec.json.encode(GOOD), '{"warmth": 1}', "unknown field"),
    "beams without end": (msgspec.json.encode(GOOD), '{"num_beams": 100000}', "<= 1024"),
}


def test_bad_input_is_refused_in_two_lines(room, jobs, tmp_path: Path) -> None:
    async def refuse(feature, case: str) -> None:
        cells, settings, problem = REFUSED[case]
        execution = await feature.DescribeCells(Cells=cells, Settings=settings)
        kind, said = await refusal(execution)
        assert (kind, len(said)) == ("InputRefused", 2), case
        assert problem in said[0], case
        results = await feature.GetResults(JobId=execution.command_execution_uuid, First=0, Count=1)
        assert (results["State"], results["Problem"]) == ("failed", "\n".join(said)), case
        assert (results["Done"], results["Total"], results["Returned"]) == (0, -1, 0), case
        assert results["Results"] == b"", case

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            for case in REFUSED:
                await refuse(client.CellDescription, case)

    asyncio.run(run())


def test_settings_that_the_model_cannot_have_are_refused(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(1)), Settings='{"max_new_tokens": 1000000}'
            )
            kind, (problem, hint) = await refusal(execution)
            assert kind == "EngineFailed"
            assert "1000000 new tokens" in problem
            assert "ask for at most" in hint

    asyncio.run(run())


def test_a_missing_parameter_is_a_validation_error(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            command = client.CellDescription.DescribeCells
            method = f"/{command.feature.fully_qualified_identifier.rpc_package}.CellDescription/"
            with pytest.raises(ValidationError) as caught:
                await client._make_unary_request(method + "DescribeCells", b"", command=True)
            assert caught.value.parameter.endswith("/DescribeCells/Parameter/Cells")

    asyncio.run(run())


def test_too_much_at_a_time_is_refused_with_a_time(
    model, jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        room = EngineRoom(model, RoomLimits(waiting_cells=8))
        room.warm_up()
        gate = Gate(monkeypatch)
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            command = client.CellDescription.DescribeCells
            first = await command(Cells=body(counts(40)), Settings="")
            await asyncio.to_thread(gate.reached.wait, 60)
            kind, (problem, hint) = await refusal(await command(Cells=body(counts(4)), Settings=""))
            assert kind == "Overloaded"
            assert "cells wait already" in problem
            assert hint.endswith(" s")
            gate.open()
            assert (await responses(first))["Count"] == 40
        room.close()

    asyncio.run(run())


def test_sixteen_clients_get_the_texts_of_describe(room, jobs, model, tmp_path: Path) -> None:
    values = [counts(1 + number % 3, seed=number) for number in range(16)]
    wanted = [lines(described(model, one)) for one in values]

    async def ask(door, number: int) -> list[bytes]:
        async with client_of(door) as client:
            found = []
            for _ in range(2):
                execution = await client.CellDescription.DescribeCells(
                    Cells=body(values[number]), Settings=""
                )
                found.append((await responses(execution))["Results"])
            return found

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door:
            found = await asyncio.gather(*(ask(door, number) for number in range(16)))
            assert found == [[one] * 2 for one in wanted]

    asyncio.run(run())


def test_a_large_call_is_read_in_a_thread(
    room, jobs, model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = counts(3)
    monkeypatch.setattr(submit, "SHORT_BYTES", 10)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(Cells=body(values), Settings="")
            assert (await responses(execution))["Results"] == lines(described(model, values))
            kind, _ = await refusal(
                await client.CellDescription.DescribeCells(Cells=b"[1234567890]", Settings="")
            )
            assert kind == "InputRefused"

    asyncio.run(run())


def test_large_calls_hold_a_limited_number_of_bytes(
    room, jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = body(counts(40))
    monkeypatch.setattr(submit, "SHORT_BYTES", 10)
    describe, go_on = room.describe, threading.Event()

    def slow(*args, **how):
        assert go_on.wait(60)
        return describe(*args, **how)

    async def run() -> None:
        limits = RunLimits(held_bytes=len(large) + 10)
        async with opened(room, jobs, tmp_path, runs=limits) as door, client_of(door) as client:
            monkeypatch.setattr(room, "describe", slow)
            command = client.CellDescription.DescribeCells
            first = await command(Cells=large, Settings="")
            kind, said = await refusal(await command(Cells=large, Settings=""))
            assert kind == "Overloaded"
            assert said == [
                f"{len(large):,} bytes of cells are being read, at most {len(large) + 10:,} may be",
                "hint: send these again in 5 s",
            ]
            go_on.set()
            assert (await responses(first))["Count"] == 40
            assert (await responses(await command(Cells=large, Settings="")))["Count"] == 40

    asyncio.run(run())


def test_a_bug_ends_the_command_and_is_in_the_log(
    room, jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        msg = "a path of this machine"
        raise ZeroDivisionError(msg)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            monkeypatch.setattr(room, "describe", broken)
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(1)), Settings=""
            )
            with pytest.raises(UndefinedExecutionError) as caught:
                await responses(execution)
            assert str(caught.value) == "the service failed\nhint: see its log"
            assert not door.server.runs.running

    asyncio.run(run())
    assert "ZeroDivisionError: a path of this machine" in caplog.text


def test_a_broken_engine_is_said_to_all(
    room, jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder

    def broken(*_: object) -> None:
        msg = "no memory is left"
        raise MemoryError(msg)

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            monkeypatch.setattr(OnnxRuntimeDecoder, "bind", broken)
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(3)), Settings=""
            )
            kind, said = await refusal(execution)
            assert kind == "EngineFailed"
            assert said == ["the engine failed", "hint: see the log of the service"]

    asyncio.run(run())


def test_numbers_of_json_may_be_whole(room, jobs, model, tmp_path: Path) -> None:
    values = counts(1)
    whole = [{"counts": {GENES[g]: int(values[0, g]) for g in np.flatnonzero(values[0])}}]

    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            execution = await client.CellDescription.DescribeCells(
                Cells=msgspec.json.encode(whole), Settings="  "
            )
            found = msgspec.json.decode((await responses(execution))["Results"])
            assert found["text"] == described(model, values)[0].text
            assert found["cell"] == "0"

    asyncio.run(run())
