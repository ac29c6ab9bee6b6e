"""The command `c2t export`: its options, and which of them go together.

It imports nothing of the export itself before it runs, as that needs torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.run import UsageError, import_stage, say
from c2t.runtime.system.errors import C2TError


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
    user_message: Annotated[
        str | None, typer.Option(help="Text in front of the cell's vectors in the prompt.")
    ] = None,
    placeholder_token: Annotated[
        str | None, typer.Option(help="The token that stands for a cell vector in the prompt.")
    ] = None,
    date: Annotated[str | None, typer.Option(help="Date in the system header.")] = None,
    perceiver_heads: Annotated[
        int | None, typer.Option(help="Heads of a perceiver projector; weights do not tell.")
    ] = None,
    lora_alpha: Annotated[
        float | None, typer.Option(help="Alpha of LoRA weights that come without a config.")
    ] = None,
    emb_layer: Annotated[
        int | None, typer.Option(help="Encoder layer to take; 0: the last, -1: the one before.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Gene positions given to the decoder.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Default length limit.")] = None,
    num_beams: Annotated[int | None, typer.Option(min=1, help="Default number of beams.")] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(min=0, help="Default size of n-grams that may not repeat; 0: off.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model in the bundle.")] = None,
    phrases: Annotated[
        Path | None,
        typer.Option(help="Training captions, one a line: drafts that make describing faster."),
    ] = None,
    cells: Annotated[
        Path | None, typer.Option(help="Real cells (.h5ad) for the check against PyTorch.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Sizes of a known model, for --random.")
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Random weights for --preset.")] = False,
    projector: Annotated[str, typer.Option(help="Its projector: mlp or perceiver.")] = "mlp",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Turn a trained checkpoint into a bundle.

    The bundle is checked against PyTorch; when the check fails, none is left behind.

    Give one of: FOLDER; --geneformer and --llama with --checkpoint, --adapter or both;
    --preset and --random.
    """
    parts = {"geneformer": geneformer, "llama": llama}
    trained = {"checkpoint": checkpoint, "adapter": adapter}
    ways = [folder is not None, any([*parts.values(), *trained.values()]), preset is not None]
    hint = "see `c2t export --help`"
    if sum(ways) != 1:
        given = "nothing" if not any(ways) else "more than one of them"
        problem = f"what to export is one of FOLDER, --geneformer ..., --preset; {given} was given"
        raise UsageError(problem, hint=hint)
    missing = [f"--{option}" for option, value in parts.items() if value is None]
    if ways[1] and (missing or not any(trained.values())):
        missing += [] if any(trained.values()) else ["--checkpoint or --adapter"]
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

    settings = {
        "folder": folder,
        **parts,
        **trained,
        "token_dictionary": token_dictionary,
        "gene_medians": gene_medians,
        "ensembl_mapping": ensembl_mapping,
        "gene_names": gene_names,
        "system_message": system_message,
        "user_message": user_message,
        "placeholder_token": placeholder_token,
        "date": date,
        "lora_alpha": lora_alpha,
        "perceiver_heads": perceiver_heads,
        "emb_layer": emb_layer,
        "max_new_tokens": max_new_tokens,
        "num_beams": num_beams,
        "no_repeat_ngram_size": no_repeat_ngram_size,
        "name": name,
        "phrases": phrases,
    }
    if ways[2] and any(value is not None for value in settings.values()):
        given = ", ".join(key for key, value in settings.items() if value is not None)
        problem = f"a preset has settings of its own; also given: {given}"
        raise UsageError(problem, hint="only --top-k, --projector and --seed go with it")

    pipeline = import_stage("c2t.export.pipeline")
    if preset is not None:
        kind = import_stage("c2t.export.checkpoint.preset").PresetOptions
        top = {} if top_k is None else {"top_k": top_k}
        source = {"preset": kind(name=preset, projector=projector, seed=seed, **top)}
    else:
        kind = import_stage("c2t.export.checkpoint.options").CheckpointOptions
        source = {"checkpoint": kind(top_k=top_k, **settings)}
    bundle = pipeline.export_bundle(
        pipeline.ExportOptions(output=output, cells=cells, force=force, **source), report=say
    )
    say(f"wrote {bundle.path}; describe cells with `c2t describe {bundle.path} CELLS.h5ad`")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot read {path}: {error}"
        raise C2TError(problem, hint="give a text file in UTF-8") from error
