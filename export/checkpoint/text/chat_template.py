"""A chat template is a program of a stranger: it runs in a child process, within limits.

transformers' sandbox keeps it from files and from Python's insides, but not from looping for ever
or from filling the memory. Where there is no `fork` (Windows), the child is started anew: it takes
seconds longer, as it imports transformers again.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import jinja2
from transformers import PreTrainedTokenizerBase

from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.portable.limits import limit_this_process

CPU_SECONDS, WALL_SECONDS = 10, 60
MEMORY_BYTES = 1 << 30  # beyond what this process has when the child begins
TEXT_BYTES = 16 << 20

Message = dict[str, str]
Jobs = Sequence[tuple[list[Message], str | None]]
# Rendered text, or why there is none.
Rendered = tuple[str | None, str]


def render_templates(tokenizer: PreTrainedTokenizerBase, jobs: Jobs) -> list[Rendered]:
    """Render a tokenizer's chat template for several conversations.

    Args:
        tokenizer: With a chat template.
        jobs: Messages, and the date that the template may write; None: it gets no date at all.

    Returns:
        For each job the text, or None and the template's own error.

    Raises:
        CheckpointError: The template takes too long, or too much memory.
    """
    if sys.platform == "win32":
        return _in_new_process(tokenizer, jobs)
    return _in_child(tokenizer, jobs)


def _work(tokenizer: PreTrainedTokenizerBase, jobs: Jobs) -> bytes:
    """What a child writes: JSON; nothing if it is too long."""
    texts = [_render(tokenizer, messages, date) for messages, date in jobs]
    content = json.dumps(texts).encode()
    return content if len(content) <= TEXT_BYTES else b""


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], date: str | None
) -> Rendered:
    clock: Callable[[str], str] | jinja2.Undefined = jinja2.Undefined(name="strftime_now")
    written: str | jinja2.Undefined = jinja2.Undefined(name="date_string")
    if date is not None:
        pinned = date
        written = pinned

        def clock(_: str) -> str:
            return pinned

    try:
        text = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            # Template variables: an undefined one hides the clock that the renderer would offer.
            strftime_now=clock,
            date_string=written,
        )
    except MemoryError:
        return None, "it takes too much memory"
    # Whatever a program raises is an error of the program.
    except Exception as error:
        return None, f"{error}" or type(error).__name__
    return str(text), ""


def _in_child(tokenizer: PreTrainedTokenizerBase, jobs: Jobs) -> list[Rendered]:
    """Render in a copy of this process, of limited time and memory."""
    if sys.platform == "win32":
        raise AssertionError
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of other threads, whose locks the child could wait for. It takes none:
        # all modules are imported, and it only computes texts.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be_child(tokenizer, jobs, writing)
    os.close(writing)
    try:
        content, ended = _read_until(reading, time.monotonic() + WALL_SECONDS)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _rendered(content if ended else b"")


def _be_child(tokenizer: PreTrainedTokenizerBase, jobs: Jobs, writing: int) -> NoReturn:
    """Write the results, and end without any of the parent's clearing up."""
    try:
        _limit()
        content = _work(tokenizer, jobs)
        while content:
            content = content[os.write(writing, content) :]
    finally:
        os._exit(0)


def _in_new_process(tokenizer: PreTrainedTokenizerBase, jobs: Jobs) -> list[Rendered]:
    """Render in a process that is started anew, of limited time and memory."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __spec__.name],
            input=pickle.dumps((tokenizer, jobs)),
            capture_output=True,
            check=False,
            timeout=WALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return _rendered(b"")
    if done.returncode == 1 and b"MemoryError" not in done.stderr:  # an error that no limit made
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        problem = f"the chat template cannot be rendered: {said}"
        raise CheckpointError(problem, hint="try `c2t doctor`, or another --chat-template")
    return _rendered(b"" if done.returncode else done.stdout)


def _be_new_process() -> None:
    tokenizer, jobs = pickle.load(sys.stdin.buffer)  # from the process that started this one
    _limit()
    sys.stdout.buffer.write(_work(tokenizer, jobs))


def _limit() -> None:
    limit_this_process(cpu_seconds=CPU_SECONDS, memory_bytes=MEMORY_BYTES)


def _rendered(content: bytes) -> list[Rendered]:
    """What a child wrote, if it came to its end."""
    if not content:
        problem = (
            f"the chat template takes more than {CPU_SECONDS} s, {MEMORY_BYTES >> 20} MiB of "
            f"memory, or {TEXT_BYTES >> 20} MiB of text"
        )
        raise CheckpointError(problem, hint="choose another one: --chat-template NAME or FILE")
    return [(text, error) for text, error in json.loads(content)]


def _read_until(reading: int, deadline: float) -> tuple[bytes, bool]:
    """What the child wrote, and whether it ended in time."""
    parts: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([reading], [], [], left)
        if not ready:
            break
        part = os.read(reading, 1 << 16)
        if not part:
            return b"".join(parts), True
        parts.append(part)
    return b"", False


if __name__ == "__main__":
    _be_new_process()
