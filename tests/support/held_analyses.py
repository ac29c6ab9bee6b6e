"""A gate before labels are compared: what happens while an analysis is under way, at rest."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from c2t.runtime.describe.model import Model
from c2t.runtime.serve.room.room import EngineRoom

SECONDS = 60
LABELS = ["B cell", "T cell", "monocyte"]


class HeldAnalyses:
    """Holds back every comparison of labels until it is opened.

    Attributes:
        reached: Set when one is held back.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        plain = model.annotator

        def held(*arguments: Any) -> Any:
            self.reached.set()
            assert self._open.wait(SECONDS)
            return plain(*arguments)

        monkeypatch.setattr(model, "annotator", held)

    def open(self) -> None:
        """Let all go on."""
        self._open.set()


def until_waiting(room: EngineRoom, number: int) -> None:
    """Wait until so many analyses are under way or wait for their turn."""
    end = time.monotonic() + SECONDS
    while room.analyses._waiting != number:
        assert time.monotonic() < end
        time.sleep(0.01)
