"""An analysis under way, such as `annotate`: in a thread of its own, so that others go on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from c2t.runtime.serve.room.limits import JobCancelled
from c2t.runtime.serve.stdio.failures import rpc_error
from c2t.runtime.serve.stdio.wire import Code, RpcError
from c2t.runtime.system.errors import C2TError

Work = Callable[[Callable[[], bool]], Any]  # told how to learn that nobody wants it any more
LOG = logging.getLogger(__name__)


class Analysis:
    """Runs in a thread from when it is made until it has an answer or is cancelled.

    Args:
        work: What to do; gives the answer.
        wake: Called in that thread when there is one.
    """

    def __init__(self, work: Work, wake: Callable[[], None]) -> None:
        self._work = work
        self._wake = wake
        self._unwanted = threading.Event()
        self._result: Any = None
        self._error: RpcError | None = None
        self.finished = False  # whether there is an answer
        run = copy_context().run  # who asks, for the audit trail
        threading.Thread(
            target=run, args=(self._run,), name="c2t-stdio-analysis", daemon=True
        ).start()

    def cancel(self) -> None:
        """Let it end as soon as it can, without an answer."""
        self._unwanted.set()

    def response(self) -> Any:
        """The answer, once it is finished.

        Raises:
            RpcError: It was refused, or failed.
        """
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work(self._unwanted.is_set)
        except JobCancelled:
            return  # whoever cancelled it has answered
        except C2TError as error:
            self._error = rpc_error(error)
        except Exception:  # a bug of ours; whoever waits must not wait for ever
            LOG.exception("an analysis failed")
            hint = "the service's standard error has its traceback"
            self._error = RpcError(Code.INTERNAL, "a bug in c2t", hint=hint)
        self.finished = True
        self._wake()
