"""The command line: one function a command, each of which imports its stage when it runs.

Data goes to standard output, everything else to standard error. Errors and exit codes are the work
of `c2t.runtime.command_line.run`.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Annotated

import typer

import c2t
from c2t.calibration.commands.calibrate import calibrate
from c2t.calibration.commands.evaluate import evaluate
from c2t.export.command import export
from c2t.runtime.command_line.options import (
    BundleArgument,
    ForceOption,
    JsonOption,
    Shell,
    TrustOption,
)
from c2t.runtime.command_line.run import (
    UsageError,
    add_command,
    import_stage,
    open_checked,
    print_json,
    reporting,
    run_app,
    say,
)
from c2t.runtime.commands import audit as audit_commands
from c2t.runtime.commands.annotate import annotate
from c2t.runtime.commands.ask import ask
from c2t.runtime.commands.bench import bench
from c2t.runtime.commands.build import build
from c2t.runtime.commands.describe import describe
from c2t.runtime.commands.embed import embed
from c2t.runtime.commands.explain import explain
from c2t.runtime.commands.report import report
from c2t.runtime.commands.search import search
from c2t.runtime.commands.sign import sign
from c2t.runtime.commands.verify import verify
from c2t.runtime.serve.command import serve

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    invoke_without_command=True,
    # Rich help would cost more time than all the rest of `c2t --help`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Single cells in, descriptions in words out. Nothing is ever sent anywhere.",
)


def main() -> None:
    """Run the command line."""
    run_app(app)


_command = functools.partial(add_command, app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"c2t {c2t.__version__}")
        raise typer.Exit


@app.callback()
@reporting
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
    install_completion: Annotated[
        bool, typer.Option("--install-completion", help="Let your shell complete c2t's words.")
    ] = False,
    show_completion: Annotated[
        bool, typer.Option("--show-completion", help="Print the script that this would write.")
    ] = False,
    shell: Annotated[
        Shell | None, typer.Option(help="For which shell.  [default: this one]")
    ] = None,
) -> None:
    command, about_shells = context.invoked_subcommand, install_completion or show_completion
    if command is not None and not (about_shells or shell):
        return
    if not about_shells and not shell:
        problem = "missing command"
        raise UsageError(problem, hint="see `c2t --help`")
    if command is not None or install_completion == show_completion:
        problem = "--shell goes with one of --install-completion and --show-completion, and these "
        problem += "with no command"
        raise UsageError(problem, hint="run `c2t --install-completion`")
    from c2t.runtime.command_line.completion import install as stage

    chosen = stage.this_shell(os.environ) if shell is None else shell
    if show_completion:
        print(stage.completion_script(app, chosen), end="")
    else:
        say(stage.install_completion(app, chosen, os.environ))


_DEMOS = {
    "cell2text": "c2t.examples.demo.describe_pbmc",
    "cell2sentence": "c2t.examples.demo_cell2sentence.describe_pbmc",
    "cellwhisperer": "c2t.examples.demo_search.search_pbmc",
}


@_command
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for the bundle and the results.  [default: c2t-demo]"
        ),
    ] = None,
    family: Annotated[
        str, typer.Option(help=f"What kind of model: {', '.join(_DEMOS)}.")
    ] = "cell2text",
    force: ForceOption = False,
) -> None:
    """Describe 700 real blood cells, with a small model.

    Exports the trained model that comes along, checks it, and describes cells it never saw. The
    model of the family cellwhisperer finds them by phrases instead.
    """
    if family not in _DEMOS:
        problem = f"--family is {family!r}"
        raise UsageError(problem, hint=f"it is one of {', '.join(_DEMOS)}")
    from c2t.runtime.system.files import check_folder_target

    usual = "c2t-demo" if family == "cell2text" else f"c2t-demo-{family}"
    folder = output or Path(usual)
    if folder.exists():  # else it is made; refuse before the seconds that torch takes to load
        check_folder_target(folder / "bundle", force=force)
    stage = import_stage(_DEMOS[family])
    print(stage.run_demo(folder, force=force, report=say), end="")


_command(export)
_command(describe)
_command(annotate)
_command(ask)
_command(explain)
_command(embed)
_command(search)
_command(report)
_command(serve)
_command(calibrate)
_command(build)
_command(evaluate)
_command(bench)
_command(sign)
_command(verify)

audit_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check and show audit trails."
)
app.add_typer(audit_app, name="audit")
add_command(audit_app, audit_commands.check)
add_command(audit_app, audit_commands.show)


@_command
def info(
    bundle: BundleArgument,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file's hash.")] = False,
    trust: TrustOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a bundle is and holds. With --trust every file's hash is compared, too."""
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.commands import info as stage
    from c2t.runtime.system.text_tables import render

    verify = verify or trust is not None
    opened = (
        open_checked(bundle, trust, wholly=True) if verify else open_bundle(bundle, verify=False)
    )
    about = stage.bundle_info(opened, files_checked=verify)
    if json:
        print_json(about)
    else:
        print(render(stage.sections(about)), end="")


@_command
def help(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PAGE]", help="Name of a page, or words to find one by."),
    ] = None,
) -> None:
    """Show a how-to page, or find one by words; alone, list all.

    The pages come along with c2t. Hints of errors name the one that says more. What a command takes
    is said by `c2t COMMAND --help`.
    """
    from c2t.runtime.command_line import help_pages as stage

    titles, asked = stage.page_titles(), " ".join(words or ())
    if asked in titles:
        print(stage.page_text(asked), end="")
        return
    rows = stage.sections_with(asked) if asked else list(titles.items())
    if not rows:
        problem = f"no page is called {asked!r}, and none says that"
        hint = "`c2t help` lists the pages, and `c2t COMMAND --help` says what a command takes"
        raise UsageError(problem, hint=hint)
    if asked:
        say("no page has this name (`c2t COMMAND --help` is about commands); these say it:")
    else:
        say("`c2t help PAGE` shows one of these, `c2t help WORDS` finds where words stand:")
    width = max(map(len, titles))
    print("\n".join(f"{name:<{width}}  {title.replace('`', '')}" for name, title in rows))


@_command
def doctor(json: JsonOption = False) -> None:
    """Show what is installed and would run here.

    For every engine that would not run, the reasons. Fails if no cell could be described here.
    """
    from c2t.runtime.commands import doctor as stage
    from c2t.runtime.system.text_tables import render

    diagnosis = stage.diagnose()
    if json:
        print_json(diagnosis)
    else:
        print(render(stage.sections(diagnosis)), end="")
    if diagnosis.problems:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
