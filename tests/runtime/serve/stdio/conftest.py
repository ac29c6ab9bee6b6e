"""A room over the tiny bundle, and a gate before its decoder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import c2t
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
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


class Gate:
    """Holds back every decoder step until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        bind = OnnxRuntimeDecoder.bind

        def held(decoder, *args):
            self.reached.set()
            assert self._open.wait(60)
            return bind(decoder, *args)

        monkeypatch.setattr(OnnxRuntimeDecoder, "bind", held)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(room: EngineRoom, monkeypatch: pytest.MonkeyPatch):
    room.warm_up()
    gate = Gate(monkeypatch)
    yield gate
    gate.open()
