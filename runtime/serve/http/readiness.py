"""Whether cells can be described now: known by describing one."""

from __future__ import annotations

import logging
import threading

from c2t.runtime.serve.room.limits import StoppingError
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError

log = logging.getLogger(__name__)


class Readiness:
    """Opens the engines of a room in a thread, and knows when that is done.

    Args:
        room: What must be ready.

    Attributes:
        engine: Name and version of the engine; None until it is open.
    """

    def __init__(self, room: EngineRoom) -> None:
        self.engine: str | None = None
        self._room = room
        self._problem: C2TError | None = STARTING

    def begin(self) -> None:
        """Warm the room up in a thread; requests that come meanwhile wait for the engines."""
        threading.Thread(target=self._warm_up, name="c2t-warm-up", daemon=True).start()

    @property
    def problem(self) -> C2TError | None:
        """Why cells cannot be described now; None: they can."""
        return STOPPING if self._room.stopping else self._problem

    def _warm_up(self) -> None:
        try:
            self._room.warm_up()
            self.engine = self._room.model.engine_label
        except C2TError as error:
            log.error("the engines do not work: %s", error.problem)
            self._problem = error
        except Exception:
            log.exception("the engines do not work, by a bug")
            self._problem = BROKEN
        else:
            self._problem = None


STARTING = StoppingError("the engines are being opened", hint="ask again in some seconds")
STOPPING = StoppingError("the service is about to stop", hint="ask again when it is back")
BROKEN = StoppingError("the engines do not work, by a fault of the service", hint="see its log")
