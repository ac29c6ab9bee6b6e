"""A run that is stopped half-way, and the one that goes on from there."""

import csv
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_process import C2T, ENVIRONMENT, make_cells, run_c2t
from explain_bundle import with_rules

CELLS = 120
FEW = 45  # of those that take longer
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
    bundle: Path,
    many: Path,
    out: Path,
    number: int,
    *,
    ignored: bool = False,
    command: str = "describe",
    options: tuple[object, ...] = OPTIONS,
) -> tuple[int, str]:
    """Run until some cells are in the journal, send the signal; exit code and stderr."""
    words = [command, bundle, many, "-o", out, *options]
    with signals_of_children(signal.SIG_IGN if ignored else signal.default_int_handler):
        process = subprocess.Popen(
            [C2T, *map(str, words)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
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


@pytest.fixture(scope="module")
def explaining(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose texts can be explained."""
    return with_rules(shutil.copytree(bundle, tmp_path_factory.mktemp("explaining") / "bundle"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("command", ["annotate", "explain"])
def test_what_is_annotated_or_explained_is_kept_too(
    explaining: Path, many: Path, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    (tmp_path / "labels.txt").write_text("T cell\nB cell\n")
    options: tuple[object, ...] = (*OPTIONS, "--limit", FEW)
    options += ("--runs", 48) if command == "explain" else ("--labels", tmp_path / "labels.txt")
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    done = run_c2t(command, explaining, many, "-o", whole, *options)
    assert done.returncode == 0, done.stderr
    code, errors = stop_half_way(explaining, many, out, number, command=command, options=options)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert f"of {FEW} cells are kept; run the same command again" in errors
    assert not out.exists()
    kept = (tmp_path / ".out.csv.partial").read_bytes().count(b"\n") - 1
    other = run_c2t("describe", explaining, many, "-o", out)
    assert f"command ({command}, now None)" in other.stderr
    done = run_c2t(command, explaining, many, "-o", out, *options)
    assert done.returncode == 0, done.stderr
    assert f"going on after {kept} of {FEW} cells that an earlier run {command}" in (
        done.stderr.replace("annotated", "annotate").replace("explained", "explain")
    )
    assert same_table(out, whole)
    assert not (tmp_path / ".out.csv.partial").exists()


def same_table(one: Path, other: Path) -> bool:
    """Whether two tables say the same: other batches change the last digits of numbers."""
    pairs = zip(table_of(one), table_of(other), strict=True)
    return all(a == b or abs(float(a) - float(b)) < 1e-3 for a, b in pairs)


def table_of(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [field for line in csv.reader(stream) for field in line]


def test_what_was_annotated_with_other_labels_is_no_part_of_it(
    explaining: Path, many: Path, tmp_path: Path
) -> None:
    labels, out = tmp_path / "labels.txt", tmp_path / "out.csv"
    labels.write_text("T cell\nB cell\n")
    options = (*OPTIONS, "--labels", labels)
    stop_half_way(explaining, many, out, signal.SIGKILL, command="annotate", options=options)
    labels.write_text("T cell\nmonocyte\n")
    refused = run_c2t("annotate", explaining, many, "-o", out, *options)
    assert refused.returncode == 1
    assert "labels sha256" in refused.stderr
    assert "pass --restart" in refused.stderr
    done = run_c2t("annotate", explaining, many, "-o", out, *options, "--restart", "--limit", 3)
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 4
