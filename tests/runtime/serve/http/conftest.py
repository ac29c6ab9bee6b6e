"""A room over the tiny bundle, and the door before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from decoder_gate import Gate
from http_service import serving

import c2t
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.room.room import EngineRoom

OPTIONS = c2t.DescribeOptions(threads=1, engine="cpu", batch_size=2)


@pytest.fixture(scope="module")
def model(tiny_bundle_folder: Path):
    with c2t.open(tiny_bundle_folder, OPTIONS) as model:
        yield model


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(scope="module")
def room(model: c2t.Model, metrics: Metrics):
    room = EngineRoom(model, observer=metrics)
    yield room
    room.close()


@pytest.fixture(scope="module")
def service(room: EngineRoom, metrics: Metrics):
    """A service with the usual options, for all tests of a file."""
    with serving(room, metrics=metrics) as service:
        yield service


@pytest.fixture
def gate(room: EngineRoom, monkeypatch: pytest.MonkeyPatch):
    room.warm_up()
    gate = Gate(monkeypatch)
    yield gate
    gate.open()
