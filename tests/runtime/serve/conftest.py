"""A room over the tiny bundle, and a gate before its decoder; some doors have others."""

from __future__ import annotations

from pathlib import Path

import pytest
from decoder_gate import Gate

import c2t
from c2t.runtime.serve.room.room import EngineRoom


@pytest.fixture(scope="session")
def model(tiny_bundle_folder: Path):
    options = c2t.DescribeOptions(threads=1, engine="cpu", batch_size=2)
    with c2t.open(tiny_bundle_folder, options) as model:
        yield model


@pytest.fixture
def room(model: c2t.Model):
    room = EngineRoom(model)
    yield room
    room.close()


@pytest.fixture
def gate(room: EngineRoom, monkeypatch: pytest.MonkeyPatch):
    room.warm_up()
    gate = Gate(monkeypatch)
    yield gate
    gate.open()
