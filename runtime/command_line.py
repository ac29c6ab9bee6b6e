"""How a command behaves: what it says where, its exit code, and what becomes of its errors.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C), 143 ended (SIGTERM). An error
of the user's is told in two lines, `error:` and `hint:`; with `--debug` it keeps its traceback, as
does everything else always, which is a bug.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO

import typer

from c2t.runtime.errors import C2TError

if TYPE_CHECKING:
    from c2t.runtime.bundle import Bundle

P = ParamSpec("P")

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE, which not every system has

# Top-level packages that only an extra installs, and the extra.
EXTRAS = {
    "gguf": "bench",
    "jinja2": "export",
    "llama_cpp": "bench",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "optimum": "export",
    "torch": "export",
    "transformers": "export",
    "scanpy": "demo",
}

_debug = False


class UsageError(C2TError):
    """Options that do not go together."""


def run_app(app: typer.Typer) -> None:
    """Run the command that the process was started with."""
    global _debug
    # Before anything loads ONNX Runtime, which reads the environment once.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # `nohup` ignores SIGHUP, and is right.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _stop)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    _debug = len(arguments) < len(sys.argv) - 1
    warnings.showwarning = _show_warning
    app(args=arguments, prog_name="c2t")


def add_command(app: typer.Typer, function: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command whose errors are told rather than thrown."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except C2TError as error:
            if _debug:
                raise
            say(f"error: {error.problem}")
            if error.hint:
                say(f"hint: {error.hint}")
            raise typer.Exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED) from None
        except BrokenPipeError:  # `c2t describe ... | head` is no error
            # Else Python complains when it flushes standard output at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt as stop:
            say(f"\ninterrupted{_what_is_kept(stop)}")
            raise typer.Exit(INTERRUPTED) from None

    app.command(function.__name__)(run)
    return run


def import_stage(name: str) -> ModuleType:
    """Import a module that needs an extra.

    Raises:
        C2TError: Something that an extra installs is missing; the hint names the extra.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        problem = f"this command needs {package}, which is not installed"
        raise C2TError(problem, hint=f'run `pip install "c2t[{EXTRAS[package]}]"`') from error


def open_checked(path: Path) -> Bundle:
    """Open a bundle once the hash of every file was compared, with a bar for gigabytes.

    Raises:
        BundleError: See `c2t.runtime.bundle.open_bundle`.
    """
    from c2t.runtime.bundle import open_bundle
    from c2t.runtime.progress import progress_bar

    total = sum(file.stat().st_size for file in path.glob("*")) if path.is_dir() else 0
    with progress_bar("checking the bundle", total, unit="bytes") as advance:
        return open_bundle(path, progress=advance)


def say(message: str) -> None:
    """Tell the user something that is not data."""
    print(message, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a dataclass, or anything else that msgspec knows, as JSON."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Tell a warning as a line of its own: where in the code it arose is nothing to users."""
    say(f"warning: {message}")


def _stop(number: int, frame: FrameType | None) -> None:
    """End on a signal the orderly way, so that nothing half-written stays behind."""
    raise SystemExit(128 + number)


def _what_is_kept(stop: KeyboardInterrupt) -> str:
    done, total = getattr(stop, "done", 0), getattr(stop, "total", 0)
    if not done:
        return ""
    return f": {done:,} of {total:,} cells are kept; run the same command again to go on"
