"""Embed, Search and Ask through a real client, and what bundles of other families refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ask_bundles import vector_bundle
from serve_cells import counted_cells, counts
from sila.client import Client
from sila.framework import DefinedExecutionError, SiLAError
from sila_door import NOTHING, body, client_of, opened, refusal
from tiny_data import JOINT, SENTENCES

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.analysis_messages import ANNOTATED_MAX, AnnotateRequest
from c2t.runtime.serve.room.questions import ASKED_MAX, AskRequest, QuestionAnalyses
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.room.vector_messages import EmbedRequest, SearchRequest
from c2t.runtime.serve.room.vectors import VectorAnalyses

TEXTS = ["activated T cells", "a monocyte"]
LABELS = ["T cell", "B cell"]
ASK = {"Question": "What cell is it?", "Labels": [], "Together": False, "Settings": ""}
Talk = Callable[[EngineRoom, Client], Awaitable[None]]


def talked(bundle: Path, folder: Path, talk: Talk) -> None:
    """Talk with a real door over a bundle."""

    async def run(room: EngineRoom, jobs: Jobs) -> None:
        async with opened(room, jobs, folder) as door, client_of(door) as client:
            await talk(room, client)

    with c2t.open(bundle, c2t.DescribeOptions(threads=1, engine="cpu")) as model:
        room = EngineRoom(model)
        jobs = Jobs(room, JobOptions(folder=folder / "jobs"))
        jobs.start()
        try:
            asyncio.run(run(room, jobs))
        finally:
            jobs.close()
            room.close()


def parsed(lines: bytes) -> list[Any]:
    return [msgspec.json.decode(line) for line in lines.splitlines()]


async def refused(call: Awaitable[Any], kind: str = "InputRefused") -> tuple[str, str]:
    """Problem and hint of a call that is refused."""
    with pytest.raises(DefinedExecutionError) as caught:
        await call
    assert caught.value.identifier == kind
    problem, hint = str(caught.value).splitlines()
    assert hint.startswith("hint: ")
    return problem, hint


def test_a_joint_space_embeds_searches_and_annotates(tmp_path: Path) -> None:
    values = counts(3)
    values[1] = 0  # a cell that has none
    cells = counted_cells(values)

    async def talk(room: EngineRoom, client: Client) -> None:
        analyses = VectorAnalyses(room.analyses)
        vectors = client.CellVectors
        found = await vectors.Embed(Cells=body(values), Settings="")
        wanted = analyses.embed(EmbedRequest(cells=cells))
        assert parsed(found["Results"]) == msgspec.to_builtins(wanted.cells)
        assert (found["Count"], found["Failed"]) == (3, 1)
        assert found["Warnings"] == wanted.warnings
        assert wanted.cells[0].joint is not None
        found = await vectors.Search(Cells=body(values), Texts=TEXTS, Settings="")
        scores = analyses.search(SearchRequest(cells=cells, texts=TEXTS))
        assert parsed(found["Results"]) == msgspec.to_builtins(scores.cells)
        assert (found["Count"], found["Failed"]) == (3, 1)
        found = await client.CellDescription.AnnotateNow(
            Cells=body(values), Labels=LABELS, Top=2, Settings=""
        )
        named = room.analyses.annotate(AnnotateRequest(cells=cells, labels=LABELS, top=2))
        assert parsed(found["Results"]) == msgspec.to_builtins(named.cells)

    talked(JOINT, tmp_path, talk)


def test_answers_are_those_of_the_room(tmp_path: Path) -> None:
    values = counts(3)
    settings = {"temperature": 1.0, "seed": 5, "max_new_tokens": 6}

    async def talk(room: EngineRoom, client: Client) -> None:
        questions = QuestionAnalyses(room.analyses)
        for together in (False, True):
            request = msgspec.convert(
                {
                    "cells": msgspec.to_builtins(counted_cells(values)),
                    "question": ASK["Question"],
                    "together": together,
                    "settings": settings,
                },
                AskRequest,
            )
            wanted = questions.ask(request)
            more = {"Together": together, "Settings": msgspec.json.encode(settings).decode()}
            found = await client.CellQuestions.Ask(Cells=body(values), **ASK | more)
            assert parsed(found["Results"]) == msgspec.to_builtins(wanted.answers)
            assert msgspec.json.decode(found["Written"]) == wanted.settings
            assert wanted.settings["seed"] == 5
            assert (found["Count"], found["Failed"]) == (1 if together else 3, 0)

    talked(vector_bundle(tmp_path / "asks"), tmp_path, talk)


def test_long_vectors_arrive(tmp_path: Path) -> None:
    """The cells of a full request."""
    values = np.ascontiguousarray(np.resize(counts(16), (ANNOTATED_MAX, counts(16).shape[1])))

    async def talk(room: EngineRoom, client: Client) -> None:
        found = await client.CellVectors.Embed(Cells=body(values), Settings="")
        assert len(parsed(found["Results"])) == found["Count"] == ANNOTATED_MAX

    talked(JOINT, tmp_path, talk)


def test_what_a_joint_space_cannot_do_is_refused(tmp_path: Path) -> None:
    cells = body(counts(1))

    async def talk(room: EngineRoom, client: Client) -> None:
        one = client.CellDescription
        assert await one.Species.read() == "Homo sapiens"
        assert await one.Tasks.read() == list(room.model.bundle.manifest.tasks)
        calls = {
            "describe": one.DescribeNow(Cells=cells, Settings=""),
            "explain": one.ExplainNow(Cells=cells, Evidence="", Settings=""),
            "ask": client.CellQuestions.Ask(Cells=cells, **ASK),
        }
        for name, call in calls.items():
            problem, hint = await refused(call)
            assert f"(cellwhisperer) cannot {name}" in problem
            assert "search" in hint
        identifier, (problem, hint) = await refusal(
            await one.DescribeCells(Cells=cells, Settings="")
        )
        assert identifier == "InputRefused"
        assert "(cellwhisperer) cannot describe" in problem
        assert "search" in hint
        file = NOTHING | {"Data": b"no matter what", "FileName": "cells.h5ad"}
        identifier, (problem, hint) = await refusal(await one.DescribeFile(**file))
        assert identifier == "InputRefused"
        assert "(cellwhisperer) cannot describe" in problem

    talked(JOINT, tmp_path, talk)


def test_what_gene_sentences_cannot_do_is_refused(tmp_path: Path) -> None:
    cells = body(counts(1))

    async def talk(room: EngineRoom, client: Client) -> None:
        one, vectors = client.CellDescription, client.CellVectors
        assert "Homo sapiens" in await one.Species.read()
        calls = {
            "explain": one.ExplainNow(Cells=cells, Evidence="", Settings=""),
            "embed": vectors.Embed(Cells=cells, Settings=""),
            "search": vectors.Search(Cells=cells, Texts=TEXTS, Settings=""),
        }
        for name, call in calls.items():
            problem, _ = await refused(call)
            assert f"(cell2sentence) cannot {name}" in problem

    talked(SENTENCES, tmp_path, talk)


def test_labels_are_refused_by_a_bundle_that_only_answers(tmp_path: Path) -> None:
    async def talk(room: EngineRoom, client: Client) -> None:
        call = client.CellDescription.AnnotateNow(
            Cells=body(counts(1)), Labels=LABELS, Top=1, Settings=""
        )
        problem, hint = await refused(call)
        assert "cannot annotate" in problem
        assert "ask" in hint

    talked(vector_bundle(tmp_path / "asks"), tmp_path, talk)


def test_what_cannot_be_right_is_refused(tmp_path: Path) -> None:
    one, many = body(counts(1)), body(counts(ANNOTATED_MAX + 1))

    async def talk(room: EngineRoom, client: Client) -> None:
        vectors = client.CellVectors
        for cells, texts, settings, words in (
            (b"{", TEXTS, "", "Cells"),
            (b'[{"counts": {"A": 1, "A": 1}}]', TEXTS, "", "'A' stands twice"),
            (many, TEXTS, "", "257 cells, at most 256"),
            (one, ["same", "same"], "", "there twice"),
            (one, [" "], "", "is empty"),
            (one, TEXTS, '{"num_beams": 2}', "Settings"),
        ):
            call = vectors.Search(Cells=cells, Texts=texts, Settings=settings)
            assert words in (await refused(call))[0]
        for texts in ([], [""], ["x" * 4001], [f"text {n}" for n in range(65)]):
            with pytest.raises((SiLAError, ValueError)):
                await vectors.Search(Cells=one, Texts=texts, Settings="")
        too_many = body(counts(ASKED_MAX + 1))
        call = client.CellQuestions.Ask(Cells=too_many, **ASK)
        assert "65 cells, at most 64" in (await refused(call))[0]
        with pytest.raises((SiLAError, ValueError)):
            await client.CellQuestions.Ask(Cells=one, **ASK | {"Question": ""})

    talked(JOINT, tmp_path, talk)
