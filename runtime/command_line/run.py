"""How a command behaves: where it writes, its exit codes, and how it reports errors.

Exit codes: 0 done, 1 failed, 2 wrong usage, 129 ended (SIGHUP), 130 interrupted (Ctrl-C), 141
output closed (SIGPIPE), 143 ended (SIGTERM). An error of the user's is reported in two lines,
`error:` and `hint:`, or with `--debug` by its traceback. Any other error is a bug, and always has
its traceback.

`signals.py` says what signals do.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TextIO

import typer

from c2t.runtime.command_line.grouped_help import GroupedCommand
from c2t.runtime.command_line.signals import handle_signals
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.text_tables import visible

if TYPE_CHECKING:
    from c2t.runtime.bundle.bundle import Bundle

P = ParamSpec("P")

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED = 128 + signal.SIGINT
STANDARD_OUTPUT = "<standard output>"  # the file name of its errors
PIPE_CLOSED = 141  # 128 + SIGPIPE, which Windows lacks

# Top-level packages that only an extra installs, and the name of the extra.
EXTRAS = {
    "cryptography": "trust",
    "anndata": "demo",
    "gguf": "bench",
    "h11": "serve",
    "igraph": "groups",
    "jinja2": "export",
    "llama_cpp": "bench",
    "onnx": "calibrate",
    "onnx_ir": "export",
    "onnxscript": "export",
    "optimum": "export",
    "pandas": "demo",
    "scipy": "evaluate",
    "sklearn": "groups",
    "tokenizers": "export",
    "torch": "export",
    "transformers": "export",
    "scanpy": "demo",
    "prometheus_client": "serve",
    "matplotlib": "scverse",
    "starlette": "serve",
    "uvicorn": "serve",
    "zstandard": "demo",
}

# What the argument parser raises. It is click's class, which some versions of Typer bring along.
_WrongArguments: Any = typer.BadParameter.__base__

_debug = False


class UsageError(C2TError):
    """Options that contradict each other; the exit code is 2."""


def run_app(app: typer.Typer) -> None:
    """Run the command of this process's arguments, and exit."""
    global _debug
    # ONNX Runtime reads the environment once, when it is loaded: set this before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    handle_signals()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    _debug = len(arguments) < len(sys.argv) - 1
    warnings.showwarning = _show_warning
    _prepare_streams()
    run_arguments(app, arguments)


def run_arguments(app: typer.Typer, arguments: list[str]) -> NoReturn:
    """Run the command that the arguments name, and exit.

    Raises:
        SystemExit: Always, with the exit code.
    """
    try:
        code = app(args=arguments, prog_name="c2t", standalone_mode=False)
        sys.stdout.flush()
    except _WrongArguments as error:
        raise SystemExit(_report_wrong_arguments(error, arguments)) from None
    except OSError as error:  # of `--help`; commands report their own
        if _debug or error.errno is None:
            raise
        raise SystemExit(_report_system_error(error)) from None
    raise SystemExit(code or 0)


def add_command(app: typer.Typer, function: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command that reports its errors and exits with their code."""
    run = reporting(function)
    app.command(function.__name__, cls=GroupedCommand)(run)
    return run


def reporting(function: Callable[P, None]) -> Callable[P, None]:
    """A function that reports its errors and exits with their code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except C2TError as error:
            if _debug:
                raise
            _report(error.problem, error.hint)
            raise typer.Exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED) from None
        except BrokenPipeError:  # `c2t describe ... | head` is no error
            _forget_standard_output()
            raise typer.Exit(PIPE_CLOSED) from None
        except OSError as error:
            if _debug or error.errno is None:
                raise
            raise typer.Exit(_report_system_error(error)) from None
        except KeyboardInterrupt as stop:
            say(f"\ninterrupted{_what_is_kept(stop)}")
            raise typer.Exit(INTERRUPTED) from None
        except SystemExit as end:
            if kept := _what_is_kept(end):
                say(f"\nended{kept}")
            raise

    return run


def import_stage(name: str, *, extra: str = "") -> ModuleType:
    """Import a module that needs an extra.

    Args:
        name: The module.
        extra: The extra that the hint names; by default the one that installs the missing package.

    Raises:
        C2TError: A package is missing; the hint names the extra that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        problem = f"this command needs {package}, which is not installed"
        hint = f'run `pip install "c2t[{extra or EXTRAS[package]}]"`'
        raise C2TError(problem, hint=hint) from error


def open_checked(path: Path, trust: Path | None = None, *, wholly: bool = False) -> Bundle:
    """Open a bundle after the hashes of all files were compared, with a progress bar.

    Args:
        path: The bundle's folder.
        trust: PEM file of the public key that it must be signed with; None: it need not be signed.
        wholly: See `c2t.runtime.bundle.bundle.Bundle.check_hashes`.

    Raises:
        BundleError: See `c2t.runtime.bundle.bundle.open_bundle`.
    """
    from c2t.runtime.bundle.bundle import open_bundle

    bundle = open_bundle(path, verify=False, trust=trust)
    with hash_progress(bundle.bytes) as advance:
        bundle.check_hashes(wholly=wholly, progress=advance)
    return bundle


def open_checking(path: Path, trust: Path | None = None) -> Bundle:
    """Open a bundle whose large files are hashed before they are first used, with a progress bar.

    Args:
        path: The bundle's folder.
        trust: PEM file of the public key that it must be signed with; None: it need not be signed.

    Raises:
        BundleError: See `c2t.runtime.bundle.bundle.open_bundle`.
    """
    from c2t.runtime.bundle.bundle import open_bundle

    bundle = open_bundle(path, verify=False, trust=trust)
    bundle.check_on_use(hash_progress)
    return bundle


def hash_progress(total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A bar for hashing `total` bytes of a bundle."""
    from c2t.runtime.system.progress import progress_bar

    return progress_bar("checking the bundle", total, unit="bytes")


def say(message: str) -> None:
    """Print a message to standard error; data goes to standard output.

    What is shown may come from a stranger's file. Control characters become escapes, and further
    lines are indented: none looks like a message of its own.
    """
    first, *more = visible(message).removeprefix("\n").split("\n")
    lines = [first, *(line if line.startswith(" ") else f"  {line}" for line in more)]
    start = "\n" if message.startswith("\n") else ""
    with contextlib.suppress(OSError):  # a closed standard error is no reason to stop working
        print(start + "\n".join(lines).rstrip(" "), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a dataclass, or anything else that msgspec can encode, as JSON."""
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
    """Print a warning as one line, without the place in the code, which means nothing to users."""
    say(f"warning: {message}")


def _report(problem: str, hint: str) -> None:
    say(f"error: {problem}")
    if hint:
        say(f"hint: {hint}")


def _report_wrong_arguments(error: Any, arguments: Sequence[str]) -> int:
    """Report an error of the argument parser like any other; without arguments, show the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return WRONG_USAGE
    message = " ".join(str(error.format_message()).split()).rstrip(".")
    given = _value_given(getattr(getattr(error, "param", None), "opts", ()), arguments)
    if given is not None and given not in message:
        message += f", not {given!r}"
    path = error.ctx.command_path if error.ctx is not None else "c2t"
    _report(message[:1].lower() + message[1:], f"see `{path} --help`")
    return WRONG_USAGE


def _value_given(names: Sequence[str], arguments: Sequence[str]) -> str | None:
    """The last value that was given to an option, for messages that lack it."""
    value = None
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, given = argument.partition("=")
        if name in names and name.startswith("-"):
            value = given if equals else following
    return value


def _report_system_error(error: OSError) -> int:
    """Report an error of the operating system, such as a full disk."""
    reason = error.strerror or str(error)
    if error.filename == STANDARD_OUTPUT:
        _forget_standard_output()
        _report(f"cannot write to standard output: {reason}", "send it somewhere else")
    else:
        where = f"{error.filename}: " if error.filename else ""
        _report(f"{where}{reason}", "mend that and run the same command again; --debug says more")
    return FAILED


class _StandardOutput(io.FileIO):
    """Standard output; its errors have `STANDARD_OUTPUT` as their file name."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from error


def _prepare_streams() -> None:
    """Let errors of standard output name it, also if the shell has closed it (`>&-`)."""
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", newline="")
    if sys.stdout is None:  # a read-only file in its place: every write fails
        raw, encoding, errors = _StandardOutput(os.open(os.devnull, os.O_RDONLY), "w"), "utf-8", ""
    elif sys.stdout.isatty():
        return
    else:
        sys.stdout.flush()
        raw = _StandardOutput(sys.stdout.fileno(), "w", closefd=False)
        encoding, errors = sys.stdout.encoding, sys.stdout.errors or ""
        if sys.platform == "win32" and "PYTHONIOENCODING" not in os.environ:
            encoding = "utf-8"  # a file of results is the same as on other systems
    # Line feeds stay line feeds, also on Windows.
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors or "strict", newline="")


def _forget_standard_output() -> None:
    """Discard what is left, so that Python's flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _what_is_kept(stop: BaseException) -> str:
    done, total = getattr(stop, "done", 0), getattr(stop, "total", 0)
    if not done:
        return ""
    return f": {done:,} of {total:,} cells are kept; run the same command again to go on"
