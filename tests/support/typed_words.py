"""A line typed into an interactive shell, with the Tab key: the words that a command then gets."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import threading
import time
from pathlib import Path

TIMEOUT = 30.0  # seconds; zsh reads its own completions at first
SHELLS = {
    "bash": ("bash", "--noprofile", "--norc", "-i"),
    "zsh": ("zsh", "-f", "-i"),
}
SETUP = {
    "bash": "",
    "zsh": "autoload -U compinit; compinit -u -D; ",
}


def typed_words(shell: str, script: Path, line: str, folder: Path) -> list[str]:
    """Type a line that begins with `c2t`, and Enter; c2t itself is not run.

    Args:
        shell: "bash" or "zsh".
        script: Its completion.
        line: Tabs in it complete.
        folder: Where the shell is; a file is written beside it.

    Returns:
        What the shell would have given to c2t.
    """
    output = folder.parent / "typed.words"
    output.unlink(missing_ok=True)
    quoted = shlex.quote(str(output))
    told = f"printf '%s\\n' \"$@\" > {quoted}.part; mv {quoted}.part {quoted}"
    setup = f"{SETUP[shell]}source {shlex.quote(str(script))}; c2t() {{ {told}; }}"
    master, slave = pty.openpty()
    process = subprocess.Popen(
        SHELLS[shell],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env={**os.environ, "TERM": "xterm", "HOME": str(folder.parent), "INPUTRC": "/dev/null"},
        start_new_session=True,
    )
    os.close(slave)
    shown: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(master, shown), daemon=True)
    reader.start()
    try:
        # The shell switches the terminal to its own line editor at the prompt: wait for that.
        os.write(master, f"{setup}; echo re''ady\n".encode())
        _wait(lambda: b"ready\r\n" in b"".join(shown), shown)
        os.write(master, f"{line}\n".encode())
        _wait(output.is_file, shown)
        return output.read_text(encoding="utf-8").splitlines()
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(master)


def _read_all(master: int, shown: list[bytes]) -> None:
    try:
        while data := os.read(master, 1 << 16):
            shown.append(data)
    except OSError:  # the shell has ended
        return


def _wait(done, shown: list[bytes]) -> None:
    end = time.monotonic() + TIMEOUT
    while not done():
        assert time.monotonic() < end, b"".join(shown).decode(errors="replace")
        time.sleep(0.02)
