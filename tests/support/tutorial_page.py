"""Runs a page of `docs/tutorials` as a reader would, and compares what it shows.

One shell runs all of a page's commands in order. Blocks are

- `console`: lines that begin with "$ " are commands (a backslash goes on); the lines behind one are
  what it prints, if any are there. A line "…" stands for any lines, "…" within a line for anything.
- `python`: run in one namespace; a `text` block behind it is what it prints.
- `bash`, `json` and others are shown only.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import re
import signal
import subprocess
import sysconfig
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANY = "…"
SECONDS = 600  # of a command, on a busy machine
END = "@@c2t-end@@"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """Something to run, and what it shows; None: nothing is said of that."""

    kind: str  # "console" or "python"
    source: str
    shown: str | None


def pieces(page: str) -> Iterator[Piece]:
    """What a page wants to be run, in order."""
    blocks = _BLOCK.findall(page)
    for n, (kind, body) in enumerate(blocks):
        if kind == "python":
            behind = blocks[n + 1] if n + 1 < len(blocks) else ("", "")
            yield Piece("python", body, behind[1] if behind[0] == "text" else None)
        elif kind == "console":
            for command in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                head = re.match(r"(?:.*\\\n)*.*\n?", command)
                assert head
                shown = command[head.end() :]
                yield Piece("console", head[0].rstrip("\n"), shown if shown.strip() else None)


def matches(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; spaces at ends of lines do not count."""
    lines = [line.rstrip() for line in shown.strip("\n").splitlines()]
    parts = []
    for line in lines:
        if line.strip() == ANY:
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(map(re.escape, line.split(ANY))) + r"\n")
    text = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch("".join(parts), text) is not None


class Shell:
    """A shell in a folder; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        scripts = sysconfig.get_path("scripts")
        environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder / ".home"),
            "XDG_STATE_HOME": str(folder / ".home"),
            "COLUMNS": "100",
        }
        (folder / ".home").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def run(self, command: str) -> tuple[str, int]:
        """What a command prints, on both streams, and its exit code."""
        assert self._process.stdin
        self._process.stdin.write(f"{command}\nprintf '\\n{END} %s\\n' $?\n")
        self._process.stdin.flush()
        printed: list[str] = []
        end = time.monotonic() + SECONDS
        while True:
            line = self._lines.get(timeout=max(0.1, end - time.monotonic()))
            assert line is not None, f"the shell ended at {command}\n{''.join(printed)}"
            if line.startswith(END):
                return "".join(printed).strip("\n"), int(line.split()[1])
            printed.append(line)

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(timeout=60)
        self._reader.join(timeout=60)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()


def run_page(path: Path, folder: Path, *, port: int, kept: frozenset[str] = frozenset()) -> int:
    """Run a page in a folder, and compare; how many pieces ran.

    Args:
        path: The page.
        folder: Where a reader would be.
        port: Free on this machine: stands for 8080, which the pages name.
        kept: Commands whose results are there already.
    """
    names: dict[str, Any] = {}
    done = 0
    with Shell(folder) as shell, contextlib.chdir(folder):
        for piece in pieces(path.read_text(encoding="utf-8").replace(":8080", f":{port}")):
            if piece.source in kept:
                continue
            if piece.kind == "console":
                printed, code = shell.run(piece.source.replace("8080", str(port)))
                expected = "# fails" in piece.source
                assert (code != 0) == expected, f"exit code {code}: {piece.source}\n{printed}"
            else:
                printed = _run_python(piece.source, names)
            if piece.shown is not None:
                assert matches(piece.shown, printed), (
                    f"{path.name} shows other words for\n{piece.source}\n--- shown\n{piece.shown}"
                    f"--- printed\n{printed}"
                )
            done += 1
    return done


def _run_python(source: str, names: dict[str, Any]) -> str:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as printed:
        warnings.simplefilter("ignore")
        exec(compile(source, "tutorial", "exec"), names)
    return printed.getvalue()
