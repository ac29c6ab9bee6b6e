"""Settings that a bundle cannot describe with are refused as input, before anything is opened."""

from __future__ import annotations

from functools import lru_cache, partial

from c2t.runtime.describe.describer import DescribeOptions, check_options
from c2t.runtime.serve.http.wire.problems import HttpError
from c2t.runtime.serve.room.messages import Settings
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError


class SettingsCheck:
    """Checks the settings of requests.

    Args:
        room: Its bundle and options.
    """

    def __init__(self, room: EngineRoom) -> None:
        self._room = room
        # Looking at the machine's memory takes milliseconds.
        self._check = lru_cache(maxsize=256)(partial(check_options, room.model.bundle))

    def __call__(self, settings: Settings) -> bool:
        """Refuse settings that cannot be.

        Returns:
            Whether they are the service's own.

        Raises:
            HttpError: 422: it is no fault of the engine, whatever the class of the error says.
        """
        try:
            options: DescribeOptions = self._room.describe_options(settings)
            usual = options == self._room.model.options
            if not usual:
                self._check(options)
        except C2TError as error:
            raise HttpError(422, error.problem, hint=error.hint) from error
        return usual
