"""The library for Windows, built by mingw-w64 and run by wine.

Its child there is `bridge.c`, a Windows program that hands its standard streams on, over TCP on
this machine, to a conversation with a real room. So pipes, threads, the child's end and texts are
real; that `c2t.exe` itself is started is what is not shown.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from capi_programs import CAPI, CHECKS, HERE, SOURCES, WARNINGS, need, parts_of
from serve_cells import GENES, counts, described

import c2t
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.conversation import Conversation, StdioOptions

pytestmark = pytest.mark.slow
COMPILER = "x86_64-w64-mingw32-gcc"
Wine = Callable[..., subprocess.CompletedProcess[str]]


def compile_all(folder: Path) -> None:
    """Build the library as a DLL with CMake, and programs beside it."""
    toolchain = folder / "mingw.cmake"
    toolchain.write_text(f"set(CMAKE_SYSTEM_NAME Windows)\nset(CMAKE_C_COMPILER {COMPILER})\n")
    cmake = ["cmake", "-S", str(CAPI), "-B", str(folder / "build")]
    commands = [
        [*cmake, f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DC2T_EXAMPLES=ON"],
        ["cmake", "--build", str(folder / "build")],
        [COMPILER, "-O1", "-o", str(folder / "bridge.exe"), str(HERE / "bridge.c"), "-lws2_32"],
        [
            *(COMPILER, *WARNINGS, "-O1", f"-I{CAPI}", "-static"),
            *("-o", str(folder / "checks.exe"), *map(str, parts_of(CHECKS)), *SOURCES, "-pthread"),
        ],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(COMPILER, "cmake")
    folder = tmp_path_factory.mktemp("windows")
    compile_all(folder)
    return folder


@pytest.fixture(scope="module")
def wine(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    need("wine", "wineserver")
    prefix = tmp_path_factory.mktemp("wine")
    base = {**os.environ, "WINEPREFIX": str(prefix), "WINEDEBUG": "-all"}

    def run(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["wine", *map(str, words)],
            env={**base, "C2T_COMMAND": f"Z:{programs / 'bridge.exe'}", **variables},
            cwd=programs / "build",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )

    started = run("cmd", "/c", "echo", "hi")
    if "hi" not in started.stdout:
        pytest.skip("wine does not start here")
    yield run
    subprocess.run(["wineserver", "-k"], env=base, check=False)


@pytest.fixture(scope="module")
def port(model: c2t.Model) -> Iterator[str]:
    """A port of this machine where conversations with a room are held."""
    room = EngineRoom(model)
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            conversation = Conversation(room, stream, stream, options=StdioOptions())
            try:
                conversation.run()
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its bridge was ended
            conversation.join()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=talk, args=(connection,)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    yield str(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(60)
    room.close()


def test_dll_exports_the_list(programs: Path) -> None:
    need("x86_64-w64-mingw32-objdump")
    dll = programs / "build" / "c2t-1.dll"
    said = subprocess.run(
        ["x86_64-w64-mingw32-objdump", "-p", str(dll)], capture_output=True, text=True, check=True
    ).stdout
    table = said.partition("[Ordinal/Name Pointer] Table")[2]
    found = {word for word in table.split() if word.startswith("c2t_")}
    assert found == set((CAPI / "c2t.symbols").read_text().split())
    names = {line.split()[-1].lower() for line in said.splitlines() if "DLL Name" in line}
    assert names <= {"kernel32.dll", "msvcrt.dll", "ucrtbase.dll"} or all(
        name.startswith(("kernel32", "msvcrt", "api-ms-win-crt")) for name in names
    ), names


def test_example_writes_the_texts_of_describe(
    wine: Wine, programs: Path, port: str, model: c2t.Model, tmp_path: Path
) -> None:
    values = counts(2)
    table = tmp_path / "cells.tsv"
    table.write_text(
        "".join(
            f"cell{number}\t{gene}\t{count:g}\n"
            for number, row in enumerate(values)
            for gene, count in zip(GENES, row, strict=True)
            if count
        )
    )
    example = programs / "build" / "describe.exe"
    done = wine(example, "bundle", "any", f"Z:{table}", BRIDGE_PORT=port)
    assert done.returncode == 0, done.stderr
    expected = [f"{cell.cell}\t{cell.text}" for cell in described(model, values)]
    assert [line.rstrip("\r") for line in done.stdout.rstrip("\n").split("\n")] == expected


@pytest.mark.parametrize(
    "name", ["arguments", "stream", "threads", "callbacks", "cancel", "timeout", "killed"]
)
def test_checks(wine: Wine, programs: Path, port: str, tmp_path: Path, name: str) -> None:
    pid = f"Z:{tmp_path / 'pid'}"
    done = wine(programs / "checks.exe", name, "bundle", "any", BRIDGE_PORT=port, PID_FILE=pid)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ok"]


@pytest.mark.parametrize(
    "bundle", ["plain", "with space", 'a"quote', "back\\", 'a\\\\"b', "tab\there", "%PATH%"]
)
def test_arguments_arrive_as_they_are(wine: Wine, programs: Path, bundle: str) -> None:
    done = wine(programs / "checks.exe", "hostile", "bundle", bundle)
    said = f"open -4 the service has ended (exit code 3): <serve><{bundle}><--stdio>"
    assert done.stdout.startswith(said.replace("\t", " ")), done.stdout


def test_program_that_is_not_there(wine: Wine, programs: Path) -> None:
    done = wine(programs / "checks.exe", "hostile", "bundle", "b", C2T_COMMAND="Z:\\no\\such.exe")
    assert done.stdout.startswith("open -3 cannot start Z:\\no\\such.exe: Windows error "), (
        done.stdout + done.stderr
    )


def test_there_are_no_unix_sockets(wine: Wine, programs: Path) -> None:
    done = wine(programs / "checks.exe", "hostile", "socket", "s")
    assert done.stdout.startswith("open -1 there are no Unix sockets on Windows"), done.stdout
