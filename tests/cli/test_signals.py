"""The first signal ends a command in order, the second at once and quietly."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cli_process import ENVIRONMENT

START = """
import collections, itertools, sys, time
from c2t.runtime.command_line.signals import handle_signals
handle_signals()
"""
TIDY = """
try:
    print("ready", flush=True)
    time.sleep(60)
except (KeyboardInterrupt, SystemExit) as end:
    print("tidying up after", repr(end), flush=True)
    time.sleep(60)
"""
# As a loop inside HDF5 does, this never returns to Python.
NEVER_RETURNS = """
def loop():
    collections.deque(itertools.repeat(0), maxlen=0)
try:
    print("ready", flush=True)
    loop()
except KeyboardInterrupt:  # it came before the loop began
    loop()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the system's own handling")


@contextmanager
def begin(code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", START + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (signal.SIGINT, "KeyboardInterrupt()"),
        (signal.SIGTERM, "SystemExit(143)"),
        (signal.SIGHUP, "SystemExit(129)"),
    ],
)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_the_process(first: int, what: str, second: int) -> None:
    with begin(TIDY) as process:
        process.send_signal(first)
        assert process.stdout is not None
        assert process.stdout.readline() == f"tidying up after {what}\n"
        process.send_signal(second)
        assert process.wait(30) == -second
        assert process.communicate()[1] == ""


def test_two_signals_end_what_never_returns() -> None:
    with begin(NEVER_RETURNS) as process:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.communicate()[1] == ""
