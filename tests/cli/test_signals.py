"""The first signal ends a command in order, the second at once and quietly."""

import signal
import subprocess
import sys

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
print("ready", flush=True)
while True:
    try:
        collections.deque(itertools.repeat(0), maxlen=0)
    except KeyboardInterrupt:
        pass  # it came before the loop began
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the system's own handling")


def begin(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", START + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


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
    process = begin(TIDY)
    process.send_signal(first)
    assert process.stdout is not None
    assert process.stdout.readline() == f"tidying up after {what}\n"
    process.send_signal(second)
    assert process.wait(30) == -second
    assert process.communicate()[1] == ""


def test_two_signals_end_what_never_returns() -> None:
    process = begin(NEVER_RETURNS)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT
    assert process.communicate()[1] == ""
