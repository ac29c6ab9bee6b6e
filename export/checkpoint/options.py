"""What is asked of a checkpoint: each option is written here once, for Python and for `c2t export`.

One decision: the fields carry what the command line says of them, and `c2t.export.command` makes
its options of the fields. Nothing heavy is imported, as `c2t --help` reads this.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.system.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Where the parts of a checkpoint are, and settings that it does not hold.

    Either `folder` alone names a folder that `save_checkpoint` wrote, or `geneformer` and `llama`
    name Hugging Face folders beside `checkpoint` (full state dict) or `adapter` (PEFT) or both, or
    `family` and `model` name a published model of another family; CellWhisperer's has `geneformer`,
    `text_model` and `checkpoint`, and its chat `chat` besides.
    None leaves a setting to the checkpoint, then to its documented default.
    """

    folder: Annotated[
        Path | None, typer.Argument(help="A checkpoint folder that c2t saved itself.")
    ] = None
    # Default: `FAMILIES[0]`, Cell2Text.
    family: Annotated[
        str | None,
        typer.Option(
            help="Whose model it is: cell2text (the default), cell2sentence, cello1, cellreasoner "
            "or cellwhisperer."
        ),
    ] = None
    model: Annotated[
        Path | None,
        typer.Option(help="With --family: the model's folder, as it is published."),
    ] = None
    # Default: the first of `c2t.export.cell2sentence.published.SentenceFamily.templates`.
    template: Annotated[
        str | None,
        typer.Option(
            help="Gene sentences: the prompt, by its name (Cell2Sentence: cell-type; Cell-o1: "
            "puzzle; CellReasoner: direct, reasoning) or from a file. CellWhisperer's chat: the "
            "file of its prompt."
        ),
    ] = None
    # Default: the family's.
    top_genes: Annotated[
        int | None,
        typer.Option(min=1, help="Gene sentences: most genes of one."),
    ] = None
    gene_order: Annotated[
        Path | None,
        typer.Option(
            help="CellReasoner: the genes that it reads, in their order, one a line: "
            "data/ranked_hvg.list of its repository."
        ),
    ] = None
    # Default: all that the family was trained on.
    organism: Annotated[
        list[str] | None,
        typer.Option(
            help="Gene sentences: whose cells the model knows, human or mouse; or "
            "'human=WORDS' for other words in the prompt. Several may be given."
        ),
    ] = None
    geneformer: Annotated[
        Path | None, typer.Option(help="Geneformer's folder: config.json and weights.")
    ] = None
    llama: Annotated[
        Path | None,
        typer.Option(
            help="The decoder's folder, a Llama or another: config.json, weights, tokenizer."
        ),
    ] = None
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The trained state: a .pt or .safetensors file, or a folder of shards."),
    ] = None
    adapter: Annotated[
        Path | None, typer.Option(help="A LoRA adapter's folder, as PEFT wrote it.")
    ] = None
    token_dictionary: Annotated[
        Path | None, typer.Option(help="Geneformer's gene-to-token dictionary.")
    ] = None
    gene_medians: Annotated[Path | None, typer.Option(help="Geneformer's gene medians.")] = None
    ensembl_mapping: Annotated[
        Path | None, typer.Option(help="Geneformer's map of Ensembl ids.")
    ] = None
    gene_names: Annotated[Path | None, typer.Option(help="Geneformer's map of symbols.")] = None
    text_model: Annotated[
        Path | None,
        typer.Option(help="CellWhisperer: BioBERT's folder: config.json and vocabulary."),
    ] = None
    chat: Annotated[
        Path | None,
        typer.Option(
            help="CellWhisperer: the folder of its chat (LLaVA), to export that: config.json, "
            "weights, tokenizer. Its prompt is --template FILE."
        ),
    ] = None
    # Default: the tokenizer's own files; else it is asked for.
    text_lower_case: Annotated[
        bool | None,
        typer.Option(help="CellWhisperer: whether the text model's tokenizer lower-cases letters."),
    ] = None
    # Default: mean.
    pooling: Annotated[
        str | None,
        typer.Option(help="CellWhisperer: what a cell is: the mean over its genes, or cls."),
    ] = None
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            help="CellWhisperer: what names of tensors begin with that nothing depends on. "
            "Several may be given."
        ),
    ] = None
    system_message: Annotated[str | None, typer.Option(help="The prompt's system message.")] = None
    system_message_file: Annotated[
        Path | None, typer.Option(help="The same from a file (its last newline is dropped).")
    ] = None
    # Default: `USER_MESSAGE`.
    user_message: Annotated[
        str | None, typer.Option(help="Text in front of the cell's vectors in the prompt.")
    ] = None
    # Default: `PLACEHOLDER_TOKEN`.
    placeholder_token: Annotated[
        str | None, typer.Option(help="The token that stands for a cell vector in the prompt.")
    ] = None
    # Default: the template's own.
    date: Annotated[str | None, typer.Option(help="Date in the system header.")] = None
    # Default: the config.json of the training run beside the checkpoint; else it is asked for.
    perceiver_heads: Annotated[
        int | None, typer.Option(min=1, help="Heads of a perceiver projector; weights do not tell.")
    ] = None
    # Default: the weights, then that config.json; else it is asked for.
    perceiver_positions: Annotated[
        bool | None,
        typer.Option(help="Whether a perceiver adds positions, where its save does not tell."),
    ] = None
    # Default: PubMedBERT's 12 where its width is 768; else it is asked for.
    qformer_heads: Annotated[
        int | None, typer.Option(min=1, help="Heads of a Q-Former projector not 768 wide.")
    ] = None
    # Default: adapter_config.json or what the training run left; else it is asked for.
    lora_alpha: Annotated[
        float | None, typer.Option(help="Alpha of LoRA weights that come without a config.")
    ] = None
    # Default: -1.
    emb_layer: Annotated[
        int | None, typer.Option(help="Encoder layer to take; 0: the last, -1: the one before.")
    ] = None
    # Default: 256.
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Gene positions given to the decoder.")
    ] = None
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Default length limit.")] = None
    num_beams: Annotated[int | None, typer.Option(min=1, help="Default number of beams.")] = None
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(min=0, help="Default size of n-grams that may not repeat; 0: off.")
    ] = None
    # Default: true, unless a generation_config.json asks for beams.
    early_stopping: Annotated[
        str | None, typer.Option(help="When beams end, as in `generate`: true, false or never.")
    ] = None
    length_penalty: Annotated[
        float | None, typer.Option(help="Exponent of the length in the score of a beam.")
    ] = None
    # Default: 1, which changes nothing.
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Default penalty of tokens that came before; 1: none.")
    ] = None
    stop_strings: Annotated[
        list[str] | None,
        typer.Option("--stop", help="A text ends with it. Several may be given."),
    ] = None
    ignore_generation_config: Annotated[
        bool,
        typer.Option(
            "--ignore-generation-config",
            help="Leave out what generation_config.json says but for end tokens: other texts.",
        ),
    ] = False
    chat_template: Annotated[
        str | None,
        typer.Option(help="The chat template: a name among the tokenizer's, or a file."),
    ] = None
    name: Annotated[str | None, typer.Option(help="Name of the model in the bundle.")] = None
    phrases: Annotated[
        Path | None,
        typer.Option(help="Training captions, one a line: drafts that make describing faster."),
    ] = None
    # Default: the paper's template, with the names that the captions use.
    fields: Annotated[
        Path | None,
        typer.Option(help="Rules by which captions become fields, for other captions: JSON."),
    ] = None
    ontology: Annotated[
        list[Path] | None,
        typer.Option(
            help="Cell Ontology, UBERON, MONDO or HsapDv (.obo, .json): ids for the fields. "
            "Several may be given."
        ),
    ] = None


def read_system_message(options: CheckpointOptions) -> str | None:
    """The prompt's system message, from its file if one is named; None: the checkpoint's own.

    Raises:
        CheckpointError: The file cannot be read, or is given beside a message.
    """
    path = options.system_message_file
    if path is None:
        return options.system_message
    if options.system_message is not None:
        problem = "--system-message and --system-message-file are both given"
        raise CheckpointError(problem, hint="give one of them")
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot read {path}: {error}"
        raise CheckpointError(problem, hint="give a text file in UTF-8") from error


def option_name(field: str) -> str:
    """What a field of `CheckpointOptions` is called on the command line."""
    words = {"folder": "FOLDER", "stop_strings": "--stop"}
    return words.get(field, f"--{field.replace('_', '-')}")


@dataclass(frozen=True, kw_only=True)
class PresetOptions:
    """Which random checkpoint to make."""

    preset: str  # "DECODER+ENCODER", like "llama-3.2-1b+geneformer-v2-104m"
    projector: Annotated[str, typer.Option(help="Its projector: mlp, perceiver or qformer.")] = (
        "mlp"
    )
    # The same seed gives the same weights.
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random weights.")] = 0
    top_k: int = 256  # encoder rows that an mlp sees
