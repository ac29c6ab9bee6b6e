"""A run that is stopped half-way, and the one that goes on from there."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_process import C2T, ENVIRONMENT, make_cells, run_c2t

CELLS = 120
OPTIONS = ("--batch-size", "2", "--threads", "1")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("many") / "many.h5ad", CELLS)


@pytest.fixture(scope="module")
def whole(bundle: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("whole") / "out.jsonl"
    assert run_c2t("describe", bundle, many, "-o", out, *OPTIONS).returncode == 0
    return out.read_bytes()


@contextmanager
def signals_of_children(action: Any) -> Iterator[None]:
    """Set what children start with; this process may ignore signals itself, as under `nohup`.

    A child starts with the default action of a signal that has a handler here.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, action) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_half_way(
    bundle: Path, many: Path, out: Path, number: int, *, ignored: bool = False
) -> tuple[int, str]:
    """Run until some cells are in the journal, send the signal; exit code and stderr."""
    command = [str(C2T), "describe", str(bundle), str(many), "-o", str(out), *OPTIONS]
    with signals_of_children(signal.SIG_IGN if ignored else signal.default_int_handler):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    journal = out.with_name(f".{out.name}.partial")
    limit = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < limit:
        if journal.exists() and journal.read_bytes().count(b"\n") > 20:
            process.send_signal(number)
            break
        time.sleep(0.002)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_stopped_run_goes_on(
    bundle: Path, many: Path, whole: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out.jsonl"
    code, errors = stop_half_way(bundle, many, out, number)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in errors
    if number != signal.SIGKILL:
        assert f"of {CELLS} cells are kept; run the same command again" in errors
    assert not out.exists()
    journal = tmp_path / ".out.jsonl.partial"
    kept = journal.read_bytes()
    journal.write_bytes(kept[:-3])  # as if the last line had been cut off
    done = run_c2t("describe", bundle, many, "-o", out, *OPTIONS, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["resumed"] == kept.count(b"\n") - 2  # less the header and the cut line
    assert summary["cells"] == CELLS
    assert f"going on after {summary['resumed']} of {CELLS} cells" in done.stderr
    assert out.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_the_caller_ignores_stops_nothing(
    bundle: Path, many: Path, whole: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    """As under `nohup`, or in the background of a shell script."""
    out = tmp_path / "out.jsonl"
    code, errors = stop_half_way(bundle, many, out, number, ignored=True)
    assert code == 0, errors
    assert out.read_bytes() == whole


def test_other_options_do_not_mix(bundle: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    stop_half_way(bundle, many, out, signal.SIGKILL)
    done = run_c2t("describe", bundle, many, "-o", out, "--max-new-tokens", 2)
    assert done.returncode == 1
    assert "left by another run, which differs in: max_new_tokens (16, now 2)" in done.stderr
    assert "hint: pass --restart" in done.stderr
    assert (
        run_c2t("describe", bundle, many, "-o", out, "--max-new-tokens", 2, "--restart").returncode
        == 0
    )
