"""A room and jobs over a tiny bundle, for a door to lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.room import EngineRoom

OPTIONS = c2t.DescribeOptions(threads=1, engine="cpu", batch_size=2)


@pytest.fixture
def model(tiny_bundle_folder: Path):
    with c2t.open(tiny_bundle_folder, OPTIONS) as model:
        yield model


@pytest.fixture
def room(model: c2t.Model):
    room = EngineRoom(model)
    room.warm_up()
    yield room
    room.close()


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder whose files may be described by their path."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    return folder


@pytest.fixture
def jobs(room: EngineRoom, tmp_path: Path, allowed: Path):
    jobs = Jobs(room, JobOptions(folder=tmp_path / "jobs", allowed=(allowed,)))
    jobs.start()
    yield jobs
    jobs.close()
