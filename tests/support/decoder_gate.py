"""A gate before the decoder: what happens while a text is written can be looked at in rest."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder

SECONDS = 60


class Gate:
    """Holds back every decoder step until it is opened, and counts them.

    Attributes:
        reached: Set when a step is held back.
        steps: Steps that were let through.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        self.steps = 0
        bind = OnnxRuntimeDecoder.bind

        def held(decoder: Any, *arguments: Any) -> Any:
            self.reached.set()
            assert self._open.wait(SECONDS)
            self.steps += 1
            return bind(decoder, *arguments)

        monkeypatch.setattr(OnnxRuntimeDecoder, "bind", held)

    def open(self) -> None:
        """Let all go on."""
        self._open.set()
