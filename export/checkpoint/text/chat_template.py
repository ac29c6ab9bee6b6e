"""A chat template is a program of a stranger: it runs in a child process, within limits.

transformers' sandbox keeps it from files and from Python's insides, but not from looping for ever
or from filling the memory. Where there is no `fork` (Windows), nothing limits it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import jinja2
from transformers import PreTrainedTokenizerBase

from c2t.runtime.system.errors import CheckpointError

CPU_SECONDS, WALL_SECONDS = 10, 60
MEMORY_BYTES = 1 << 30  # beyond what this process has when the child begins
TEXT_BYTES = 16 << 20

Message = dict[str, str]
# Rendered text, or why there is none.
Rendered = tuple[str | None, str]


def render_templates(
    tokenizer: PreTrainedTokenizerBase, jobs: Sequence[tuple[list[Message], str | None]]
) -> list[Rendered]:
    """Render a tokenizer's chat template for several conversations.

    Args:
        tokenizer: With a chat template.
        jobs: Messages, and the date that the template may write; None: it gets no date at all.

    Returns:
        For each job the text, or None and the template's own error.

    Raises:
        CheckpointError: The template takes too long, or too much memory.
    """

    def work() -> list[Rendered]:
        return [_render(tokenizer, messages, date) for messages, date in jobs]

    return _in_child(work) if hasattr(os, "fork") else work()


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


def _in_child(work: Callable[[], list[Rendered]]) -> list[Rendered]:
    """Run `work` in a child process of limited time and memory."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of other threads, whose locks the child could wait for. It takes none:
        # all modules are imported, and it only computes texts.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be_child(work, writing)
    os.close(writing)
    try:
        content, ended = _read_until(reading, time.monotonic() + WALL_SECONDS)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not ended or not content:
        problem = (
            f"the chat template takes more than {CPU_SECONDS} s, {MEMORY_BYTES >> 20} MiB of "
            f"memory, or {TEXT_BYTES >> 20} MiB of text"
        )
        raise CheckpointError(problem, hint="choose another one: --chat-template NAME or FILE")
    return [(text, error) for text, error in json.loads(content)]


def _be_child(work: Callable[[], list[Rendered]], writing: int) -> NoReturn:
    """Write the results, and end without any of the parent's clearing up."""
    try:
        _limit_this_process()
        content = json.dumps(work()).encode()
        if len(content) <= TEXT_BYTES:
            while content:
                content = content[os.write(writing, content) :]
    finally:
        os._exit(0)


def _limit_this_process() -> None:
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.is_file():  # Linux; macOS has no limit that holds
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = used + MEMORY_BYTES
        if most == resource.RLIM_INFINITY or limit < most:
            resource.setrlimit(resource.RLIMIT_AS, (limit, most))


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
