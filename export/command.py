"""The command `c2t export`: its options, and which of them go together.

Most options are fields of `CheckpointOptions` and `PresetOptions`, which say there what `--help`
shows. Nothing of the export itself is imported before the command runs, as that needs torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from c2t.export.checkpoint.options import CheckpointOptions, PresetOptions, read_system_message
from c2t.runtime.bundle.tasks import ASK, DESCRIBE
from c2t.runtime.command_line.options import ForceOption
from c2t.runtime.command_line.run import UsageError, import_stage, say

CELL2TEXT = "cell2text"
FAMILIES = (CELL2TEXT, "cell2sentence", "cello1", "cellreasoner", "cellwhisperer")
_HINT = "see `c2t export --help`"


def export(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    cells: Annotated[
        Path | None, typer.Option(help="Real cells (.h5ad) for the check against PyTorch.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="JSON: cells with the tokens that the author's own code gave."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Sizes of a known model, for --random.")
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Random weights for --preset.")] = False,
    force: ForceOption = False,
    **others: Any,
) -> None:
    """Turn a trained checkpoint into a bundle.

    The bundle is checked against PyTorch, and against what the author's own code wrote where
    --reference gives that; when a check fails, none is left behind.

    Give one of: FOLDER; --geneformer and --llama with --checkpoint, --adapter or both;
    --family and --model, for cellreasoner with --gene-order; or for cellwhisperer --geneformer,
    --text-model and --checkpoint, and for its chat --chat and --template besides;
    --preset and --random.
    """
    named = {field.name: others[field.name] for field in fields(CheckpointOptions)}
    checkpoint = CheckpointOptions(**named)
    _check_way(checkpoint, preset, random=random)
    if checkpoint.system_message is not None and checkpoint.system_message_file is not None:
        problem = "--system-message and --system-message-file are both given"
        raise UsageError(problem, hint="give one of them")
    read_system_message(checkpoint)  # before torch is imported
    source: dict[str, Any] = {"checkpoint": checkpoint}
    if preset is not None:
        if reference is not None:
            problem = "--reference does not go with --preset, whose weights are random"
            raise UsageError(problem, hint=_HINT)
        source = {"preset": _preset_options(preset, named, others)}
    pipeline = import_stage("c2t.export.pipeline")
    bundle = pipeline.export_bundle(
        pipeline.ExportOptions(
            output=output, cells=cells, reference=reference, force=force, **source
        ),
        report=say,
    )
    if ASK in bundle.manifest.tasks and DESCRIBE not in bundle.manifest.tasks:
        say(f"wrote {bundle.path}; ask about cells: `c2t ask {bundle.path} CELLS.h5ad QUESTION`")
    elif bundle.manifest.has_decoder:
        say(f"wrote {bundle.path}; describe cells with `c2t describe {bundle.path} CELLS.h5ad`")
    else:
        say(f"wrote {bundle.path}; search cells with `c2t search {bundle.path} CELLS.h5ad TEXT`")


def _check_way(options: CheckpointOptions, preset: str | None, *, random: bool) -> None:
    """Refuse all but one of the ways to name a checkpoint, each of them complete."""
    if options.family not in (None, CELL2TEXT):
        _check_other_family(options, preset)
        return
    parts = {"geneformer": options.geneformer, "llama": options.llama}
    trained = (options.checkpoint, options.adapter)
    ways = [options.folder is not None, any([*parts.values(), *trained]), preset is not None]
    if sum(ways) != 1:
        given = "nothing" if not any(ways) else "more than one of them"
        problem = f"what to export is one of FOLDER, --geneformer ..., --preset; {given} was given"
        if options.model is not None:
            problem = f"--model {options.model} is a model of which family?"
            raise UsageError(problem, hint="say it: --family cell2sentence")
        raise UsageError(problem, hint=_HINT)
    missing = [f"--{option}" for option, value in parts.items() if value is None]
    if ways[1] and (missing or not any(trained)):
        missing += [] if any(trained) else ["--checkpoint or --adapter"]
        problem = f"also needed: {', '.join(missing)}"
        raise UsageError(problem, hint=_HINT)
    if random != ways[2]:
        problem = "--preset and --random go together: a preset has sizes, no weights"
        raise UsageError(problem, hint=_HINT)


def _check_other_family(options: CheckpointOptions, preset: str | None) -> None:
    """Refuse a family that is not known, and one without its model."""
    if options.family not in FAMILIES:
        problem = f"--family is {options.family!r}"
        raise UsageError(problem, hint=f"it is one of {', '.join(FAMILIES)}")
    if options.family == "cellwhisperer":
        if preset is not None:
            problem = "--family cellwhisperer has no preset"
            raise UsageError(problem, hint=_HINT)
        return  # what else it needs is said with the checkpoint
    if options.model is None or preset is not None:
        problem = f"--family {options.family} takes --model FOLDER, and no preset"
        raise UsageError(problem, hint=_HINT)


def _preset_options(preset: str, named: dict[str, Any], others: dict[str, Any]) -> PresetOptions:
    """The preset's options; those of a checkpoint do not go with it, but for `top_k`."""
    chosen = {name: others[name] for name in ("projector", "seed")}
    given = {
        name: value
        for name, value in named.items()
        if value is not None and value is not False and value != []
    }
    if "top_k" in given:
        chosen["top_k"] = given.pop("top_k")
    if given:
        problem = f"a preset has settings of its own; also given: {', '.join(given)}"
        raise UsageError(problem, hint="only --top-k, --projector and --seed go with it")
    return PresetOptions(preset=preset, **chosen)


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    """The fields of a class of options that are options of the command line."""
    hints = get_type_hints(kind, include_extras=True)
    for name, parameter in inspect.signature(kind).parameters.items():
        if hasattr(hints[name], "__metadata__"):
            yield parameter.replace(annotation=hints[name])


def _signature() -> inspect.Signature:
    """The options in the order of `--help`."""
    own = inspect.signature(export, eval_str=True).parameters
    return inspect.Signature(
        [
            own["output"],
            *_parameters(CheckpointOptions),
            own["cells"],
            own["reference"],
            own["preset"],
            own["random"],
            *_parameters(PresetOptions),
            own["force"],
        ]
    )


# Typer reads the options of a command from its signature.
export.__signature__ = _signature()  # type: ignore[attr-defined]
