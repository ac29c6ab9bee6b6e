"""The command line: one function a command, each of which imports its stage when it runs.

Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
2 wrong usage, 130 interrupted. A user's mistake is told in two lines, `error:` and `hint:`; with
`--debug` it keeps its traceback. Everything else is a bug, and always keeps it.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Annotated, Any, ParamSpec

import typer

import c2t
from c2t.runtime.errors import C2TError

P = ParamSpec("P")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # Rich help would cost more time than all the rest of `c2t --help`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Single cells in, descriptions in words out. Nothing is ever sent anywhere.",
)

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE

# Top-level packages that only an extra installs, and the extra.
EXTRAS = {
    "jinja2": "export",
    "onnx": "export",
    "onnx_ir": "export",
    "optimum": "export",
    "peft": "export",
    "torch": "export",
    "transformers": "export",
    "scanpy": "demo",
}

_debug = False


class UsageError(C2TError):
    """Options that do not go together; exit code 2."""


def main() -> None:
    """Run the command line."""
    global _debug
    # Before anything loads ONNX Runtime: it reads the environment once.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    signal.signal(signal.SIGTERM, _stop)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    _debug = len(arguments) < len(sys.argv) - 1
    app(args=arguments, prog_name="c2t")


def _stop(number: int, frame: FrameType | None) -> None:
    """End on SIGTERM the orderly way, so that nothing half-written stays behind."""
    raise SystemExit(128 + number)


def _command(function: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command whose errors are told rather than thrown."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except C2TError as error:
            if _debug:
                raise
            _say(f"error: {error.problem}")
            if error.hint:
                _say(f"hint: {error.hint}")
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
        except BrokenPipeError:  # `c2t describe ... | head`: not an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt as stop:
            _say("\n" + (str(stop) or "interrupted"))
            raise typer.Exit(INTERRUPTED) from None

    app.command(function.__name__)(run)
    return run


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _stage(name: str) -> ModuleType:
    """Import a module that needs an extra, or say which extra is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        problem = f"this command needs {package}, which is not installed"
        raise C2TError(problem, hint=f'run `pip install "c2t[{EXTRAS[package]}]"`') from error


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"c2t {c2t.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
) -> None:
    pass


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@_command
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the bundle and the results.")
    ] = Path("c2t-demo"),
    force: ForceOption = False,
) -> None:
    """Describe 700 real blood cells, with a small model.

    Exports the trained model that comes along, checks it, and describes cells it never saw.
    """
    _stage("c2t.export.demo").run_demo(output, force=force, report=_say)


@_command
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    folder: Annotated[
        Path | None, typer.Argument(help="A checkpoint folder that c2t saved itself.")
    ] = None,
    geneformer: Annotated[
        Path | None, typer.Option(help="Geneformer's folder: config.json and weights.")
    ] = None,
    llama: Annotated[
        Path | None, typer.Option(help="Llama's folder: config.json, weights, tokenizer.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The trained state: a .pt or .safetensors file.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="A LoRA adapter's folder, as PEFT wrote it.")
    ] = None,
    token_dictionary: Annotated[
        Path | None, typer.Option(help="Geneformer's gene-to-token dictionary.")
    ] = None,
    gene_medians: Annotated[Path | None, typer.Option(help="Geneformer's gene medians.")] = None,
    ensembl_mapping: Annotated[
        Path | None, typer.Option(help="Geneformer's map of Ensembl ids.")
    ] = None,
    gene_names: Annotated[Path | None, typer.Option(help="Geneformer's map of symbols.")] = None,
    system_message: Annotated[str | None, typer.Option(help="The prompt's system message.")] = None,
    system_message_file: Annotated[
        Path | None, typer.Option(help="The same from a file (its last newline is dropped).")
    ] = None,
    date: Annotated[str | None, typer.Option(help="Date in the system header.")] = None,
    projector_heads: Annotated[
        int | None, typer.Option(help="Heads of a perceiver projector; weights do not tell.")
    ] = None,
    emb_layer: Annotated[int | None, typer.Option(help="Encoder layer to take, -1: last.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Gene positions given to the decoder.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Default length limit.")] = None,
    num_beams: Annotated[int | None, typer.Option(help="Default number of beams.")] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="Default size of n-grams that may not repeat; 0: off.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model in the bundle.")] = None,
    cells: Annotated[
        Path | None, typer.Option(help="Real cells (.h5ad) for the check against PyTorch.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Sizes of a known model, for --random.")
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Random weights of a preset.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
    force: ForceOption = False,
) -> None:
    """Turn a trained checkpoint into a bundle.

    The bundle is checked against PyTorch; when the check fails, none is left behind.

    Give one of: FOLDER; --geneformer and --llama with --checkpoint, --adapter or both;
    --preset and --random.
    """
    parts = {"--geneformer": geneformer, "--llama": llama}
    trained = {"--checkpoint": checkpoint, "--adapter": adapter}
    ways = [folder is not None, any([*parts.values(), *trained.values()]), preset is not None]
    hint = "see `c2t export --help`"
    if sum(ways) != 1:
        given = "nothing" if not any(ways) else "more than one of them"
        problem = f"what to export is one of FOLDER, --geneformer ..., --preset; {given} was given"
        raise UsageError(problem, hint=hint)
    missing = [option for option, value in parts.items() if value is None]
    if ways[1] and (missing or not any(trained.values())):
        missing += [] if any(trained.values()) else [" or ".join(trained)]
        problem = f"also needed: {', '.join(missing)}"
        raise UsageError(problem, hint=hint)
    if random != ways[2]:
        problem = "--preset and --random go together: a preset has sizes, no weights"
        raise UsageError(problem, hint=hint)
    if system_message is not None and system_message_file is not None:
        problem = "--system-message and --system-message-file are both given"
        raise UsageError(problem, hint="give one of them")
    if system_message_file is not None:
        system_message = _read_text(system_message_file)

    pipeline = _stage("c2t.export.pipeline")
    if preset is not None:
        source = {"preset": _stage("c2t.export.preset").PresetOptions(name=preset, seed=seed)}
    else:
        options = _stage("c2t.export.checkpoint_options").CheckpointOptions(
            folder=folder,
            geneformer=geneformer,
            llama=llama,
            checkpoint=checkpoint,
            adapter=adapter,
            token_dictionary=token_dictionary,
            gene_medians=gene_medians,
            ensembl_mapping=ensembl_mapping,
            gene_names=gene_names,
            system_message=system_message,
            date=date,
            perceiver_heads=projector_heads,
            emb_layer=emb_layer,
            top_k=top_k,
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            no_repeat_ngram_size=no_repeat_ngram_size,
            name=name,
        )
        source = {"checkpoint": options}
    bundle = pipeline.export_bundle(
        pipeline.ExportOptions(output=output, cells=cells, force=force, **source), report=_say
    )
    _say(f"wrote {bundle.path}; describe cells with `c2t describe {bundle.path} CELLS.h5ad`")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot read {path}: {error}"
        raise C2TError(problem, hint="give a text file in UTF-8") from error


@_command
def describe(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS.h5ad", help="The cells to describe.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write .jsonl, .csv, .parquet or .h5ad; without it, JSON lines are printed.",
        ),
    ] = None,
    write_obs: Annotated[
        bool, typer.Option("--write-obs", help="Write a copy of the cells with the descriptions.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first cells.")] = None,
    choice: Annotated[
        str | None, typer.Option("--cells", help="Only these: ids with commas, or a file of them.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an interrupted run left.")
    ] = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Describe each cell of a file in words.

    One record a cell. Run the same command again after an interruption: it goes on from there.
    """
    raise NotImplementedError


@_command
def info(
    bundle: BundleArgument,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file's hash.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a bundle is and holds."""
    from c2t.runtime import info as stage
    from c2t.runtime.report import render

    opened = _open(bundle, verify=verify)
    found = stage.describe_bundle(opened, files_checked=verify)
    if json:
        _print_json(stage.as_document(found))
    else:
        print(render(stage.sections(found)), end="")


@_command
def doctor(json: JsonOption = False) -> None:
    """Show what is installed and would run here.

    For every engine that would not run, the reasons. Fails if no cell could be described here.
    """
    from c2t.runtime import doctor as stage
    from c2t.runtime.report import render

    found = stage.diagnose()
    if json:
        _print_json(found)
    else:
        print(render(stage.sections(found)), end="")
    if found.problems:
        raise typer.Exit(1)


def _open(path: Path, *, verify: bool) -> Any:
    """Open a bundle, with a bar while gigabytes are hashed."""
    from c2t.runtime.bundle import open_bundle
    from c2t.runtime.progress import progress_bar

    if not verify:
        return open_bundle(path, verify=False)
    total = sum(file.stat().st_size for file in path.glob("*")) if path.is_dir() else 0
    with progress_bar("checking the bundle", total, unit="bytes") as advance:
        return open_bundle(path, progress=advance)
