"""libc2t built for the tests, and services for it: a child with a real room, and a socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from capi_programs import CAPI, SOURCES, WARNINGS, need, parts_of
from cli_process import C2T, ENVIRONMENT

import c2t
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.unix_socket import SocketDoor

# `c2t` itself, on few threads; it says its number first, so that a check can end it.
COMMAND = """#!/bin/sh
if [ -n "$PID_FILE" ]; then echo $$ > "$PID_FILE"; fi
exec "{c2t}" "$@" --threads 1 --engine cpu
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
                [*command, *map(str, parts_of(source)), *SOURCES, "-pthread"],
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
    """`c2t`, as the library starts it."""
    pytest.importorskip("uvicorn")  # `c2t serve` is of c2t[serve]
    path = tmp_path_factory.mktemp("command") / "c2t"
    path.write_text(COMMAND.format(c2t=C2T))
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
                **ENVIRONMENT,
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
