"""A room over a tiny bundle, jobs over it, and files of cells."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cli_process import make_cells
from serve_jobs import CELLS, OPTIONS, MakeJobs
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.describe.model import Model, open_model
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.room import EngineRoom


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    with open_model(BUNDLES["mlp"], OPTIONS) as opened:
        yield opened


@pytest.fixture
def room(model: Model) -> Iterator[EngineRoom]:
    room = EngineRoom(model)
    yield room
    room.close()


@pytest.fixture
def make_jobs(room: EngineRoom, tmp_path: Path) -> Iterator[MakeJobs]:
    """Opens jobs, in the same folder unless another is named; started unless told otherwise."""
    with ExitStack() as stack:

        def make(*, start: bool = True, room: EngineRoom = room, **options: Any) -> Jobs:
            jobs = Jobs(room, JobOptions(**{"folder": tmp_path / "state", **options}))
            stack.callback(jobs.close)
            if start:
                jobs.start()
            return jobs

        yield make


@pytest.fixture
def jobs(make_jobs: MakeJobs) -> Jobs:
    return make_jobs()


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", CELLS)


@pytest.fixture(scope="session")
def described(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What `c2t describe` writes for these cells, by the suffix."""
    folder = tmp_path_factory.mktemp("described")
    bundle = open_bundle(BUNDLES["mlp"])

    def write(suffix: str) -> Path:
        output = folder / f"cells{suffix}"
        if not output.exists():
            options = DescribeFileOptions(cells=cells, output=output, describing=OPTIONS)
            describe_file(bundle, options, stream=io.BytesIO(), report=lambda said: None)
        return output

    return write
