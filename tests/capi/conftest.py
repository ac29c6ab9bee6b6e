"""libc2t built for the tests, and services for it: a child with a real room, and a socket."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from capi_programs import CAPI, SOURCES, WARNINGS, need

import c2t
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.unix_socket import SocketDoor

# As `c2t serve BUNDLE --stdio` does it, on few threads.
SERVICE = """#!{python} -P
import os, sys
import c2t
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.run import run_stdio
from c2t.runtime.serve.stdio.streams import protocol_streams

command, bundle, stdio = sys.argv[1:]
assert (command, stdio) == ("serve", "--stdio")
if "PID_FILE" in os.environ:
    with open(os.environ["PID_FILE"], "w") as file:
        file.write(str(os.getpid()))
with protocol_streams() as (source, sink):
    with c2t.open(bundle, c2t.DescribeOptions(threads=1, engine="cpu")) as model:
        room = EngineRoom(model)
        code = run_stdio(room, source, sink)
        room.close()
sys.exit(code)
"""


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds a program in C with the library in it, once for each set of flags."""
    folder = tmp_path_factory.mktemp("capi")
    built: dict[tuple[str, ...], Path] = {}

    def build(source: Path, *flags: str) -> Path:
        need("cc")
        key = (str(source), *flags)
        if key not in built:
            target = folder / f"{source.stem}{len(built)}"
            command = ["cc", *WARNINGS, "-O1", "-g", *flags, f"-I{CAPI}", "-o", str(target)]
            done = subprocess.run(
                [*command, str(source), *SOURCES, "-pthread"],
                capture_output=True,
                text=True,
                check=False,
            )
            if "fsanitize" in " ".join(flags) and "cannot find" in done.stderr:
                pytest.skip(f"{flags[0]} is not installed")
            assert done.returncode == 0, done.stderr
            built[key] = target
        return built[key]

    return build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed library: a folder with include, lib and pkgconfig."""
    need("cmake", "cc")
    folder = tmp_path_factory.mktemp("cmake")
    for command in (
        ["cmake", "-S", str(CAPI), "-B", str(folder / "build"), "-DC2T_EXAMPLES=ON",
         "-DCMAKE_INSTALL_LIBDIR=lib"],
        ["cmake", "--build", str(folder / "build")],
        ["cmake", "--install", str(folder / "build"), "--prefix", str(folder / "there")],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(folder / "build" / "describe", folder / "there")
    return folder / "there"


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that serves a bundle over standard input and output."""
    path = tmp_path_factory.mktemp("command") / "c2t"
    path.write_text(SERVICE.format(python=sys.executable))
    path.chmod(0o700)
    return path


@pytest.fixture(scope="session")
def model(tiny_bundle_folder: Path):
    options = c2t.DescribeOptions(threads=1, engine="cpu", batch_size=2)
    with c2t.open(tiny_bundle_folder, options) as model:
        yield model


@pytest.fixture(scope="session")
def served(model: c2t.Model):
    """The path of a socket with a room behind it."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no Unix sockets here")
    room = EngineRoom(model)
    with tempfile.TemporaryDirectory() as folder:  # its path is short
        with SocketDoor(room, Path(folder) / "c2t.sock") as door:
            yield door.path
        room.close()


@pytest.fixture
def run_checks(command: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `checks.c`, which says "ok"."""

    def run(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            list(map(str, words)),
            env={
                **os.environ,
                "C2T_COMMAND": str(command),
                "PID_FILE": str(tmp_path / "pid"),
                "TSAN_OPTIONS": "halt_on_error=1",
                **variables,
            },
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith("ok\n")
        return done

    return run
