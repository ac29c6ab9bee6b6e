"""What is refused before minutes are spent on an export: impossible settings, broken weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from c2t.export.checkpoint.tensors.assembly import build_empty, count_parameters
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.export.model.loaded_checkpoint import CheckpointOutline
from c2t.export.model.model import check_fit, layers_needed
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import build_projector, cell_vectors
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.generation.stop_strings import check_stop_strings
from c2t.runtime.system.errors import C2TError, CheckpointError
from c2t.runtime.system.progress import progress_bar

# Numbers that are looked at together: a mask of a large table takes memory.
BLOCK = 1 << 24
FLOAT32_BYTES = 4
POOLING = ("joint", "mlp2x_8t")  # kinds of projectors that make one vector of all genes
LEAST_DIVISOR = 1e-30  # of a score, which is float32


def check_outline(outline: CheckpointOutline) -> None:
    """Refuse settings and vocabularies that no text could be written with.

    Raises:
        CheckpointError: Names the number, and the option that changes it.
    """
    _check_least("top_k", outline.top_k, 1)
    check_generation(outline.settings.generation)
    layers_needed(int(outline.encoder.num_hidden_layers), outline.emb_layer)
    _check_vocabularies(outline)
    if outline.projector is None:
        check_room(outline, vectors=1)  # there are more, but only the weights tell how many
    else:
        check_projector(outline, outline.projector)


def check_generation(generation: Generation) -> None:
    """Refuse settings that no text could be written with.

    Raises:
        CheckpointError: Names the number, and the option that changes it.
    """
    _check_least("max_new_tokens", generation.max_new_tokens, 1)
    _check_least("num_beams", generation.num_beams, 1)
    _check_least("no_repeat_ngram_size", generation.no_repeat_ngram_size, 0)
    if not 0 < generation.repetition_penalty < math.inf:
        problem = f"repetition_penalty is {generation.repetition_penalty}"
        raise CheckpointError(problem, hint="pass --repetition-penalty above 0; 1 changes nothing")
    try:
        check_stop_strings(generation.stop_strings)
    except C2TError as error:
        raise CheckpointError(error.problem, hint="pass --stop") from error
    _check_beams(generation)


def check_projector(outline: CheckpointOutline, projector: ProjectorConfig) -> None:
    """Refuse a projector of other sizes, or with more cell vectors than the decoder has room for.

    Raises:
        CheckpointError: Names the numbers.
    """
    check_fit(outline.encoder, projector, outline.decoder)
    special = outline.genes.cls_token is not None
    if projector.kind in POOLING and projector.special_tokens != special:
        there = "are" if special else "are not"
        problem = f"the projector {projector.kind} pools genes, and <cls> and <eos> {there} around "
        problem += f"them, but its special_tokens is {str(projector.special_tokens).lower()}"
        raise CheckpointError(problem, hint="set it in the config.json of a checkpoint folder")
    check_room(outline, vectors=cell_vectors(projector, outline.top_k))


def check_room(outline: CheckpointOutline, *, vectors: int) -> None:
    """Refuse a prompt with so many cell vectors, and a text, that the decoder has no room for.

    Raises:
        CheckpointError: Names the numbers.
    """
    prompt, new_tokens = outline.prompt, outline.settings.generation.max_new_tokens
    around = len(prompt.prefix_ids) + len(prompt.suffix_ids)
    needed = around + vectors + new_tokens
    positions = decoder_family(outline.decoder.model_type).max_positions(outline.decoder)
    if needed > positions:
        problem = (
            f"the decoder has {positions} positions, but {needed} are needed: {around} for the "
            f"prompt, {vectors} cell vectors, {new_tokens} new tokens"
        )
        raise CheckpointError(problem, hint="pass smaller --max-new-tokens or --top-k")


def check_weights(model: nn.Module) -> None:
    """Refuse weights, and statistics beside them, that are not finite.

    Raises:
        CheckpointError: Lists the tensors.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    size = FLOAT32_BYTES * sum(tensor.numel() for _, tensor in tensors)
    broken = []
    # Mapped weights are read from the disk here.
    with progress_bar("checking the weights", size, unit="bytes") as advance:
        for name, tensor in tensors:
            blocks = tensor.detach().flatten().split(BLOCK)
            if not all(torch.isfinite(block).all() for block in blocks):
                broken.append(name)
            advance(FLOAT32_BYTES * tensor.numel())
    if broken:
        shown = ", ".join(broken[:10]) + (", ..." if len(broken) > 10 else "")
        problem = f"{len(broken)} tensors of the checkpoint hold NaN or infinite values: {shown}"
        raise CheckpointError(problem, hint="the training run that wrote it had diverged")


def float32_bytes(outline: CheckpointOutline) -> int:
    """Bytes of all weights in float32: about what a bundle takes on disk."""
    encoder = encoder_family(outline.encoder.model_type)
    decoder = decoder_family(outline.decoder.model_type)
    models = [build_empty(encoder, outline.encoder), build_empty(decoder, outline.decoder)]
    if outline.projector is not None:
        with torch.device("meta"):
            models.append(build_projector(outline.projector))
    return FLOAT32_BYTES * sum(map(count_parameters, models))


def _check_vocabularies(outline: CheckpointOutline) -> None:
    """Refuse tokens without a row in the table of encoder or decoder."""
    prompt, genes = outline.prompt, outline.genes
    check_text_vocabulary(
        outline.tokenizer,
        int(outline.decoder.vocab_size),
        ends=outline.settings.generation.eos_token_ids,
        folder=outline.decoder_option,
        others=(
            ("the placeholder is", [prompt.placeholder_id], "--placeholder-token"),
            ("the prompt has", (*prompt.prefix_ids, *prompt.suffix_ids), outline.decoder_option),
        ),
    )
    special = [token for token in genes.special_tokens().values() if token is not None]
    gene_rows = int(outline.encoder.vocab_size)
    for gene in (int(genes.token.max()), int(genes.token.min()), *special):
        if not 0 <= gene < gene_rows:
            problem = f"the vocabulary has gene token {gene}, but the encoder has {gene_rows} rows"
            raise CheckpointError(problem, hint="the genes belong to another encoder")


def check_text_vocabulary(
    tokenizer: PreTrainedTokenizerBase,
    rows: int,
    *,
    ends: Sequence[int],
    folder: str,
    others: Sequence[tuple[str, Sequence[int], str]],
) -> None:
    """Refuse text tokens without a row in the decoder's table, and a tokenizer far too small.

    Args:
        tokenizer: The text tokenizer.
        rows: Of the decoder's table.
        ends: End tokens.
        folder: The option that names the decoder's folder.
        others: What has text tokens, as the start of a sentence; its tokens; the option to see.

    Raises:
        CheckpointError: Names the token.
    """
    other = "the tokenizer belongs to another decoder, or tokens were added to it alone"
    uses = [(what, ids, f"{other}; see {option}") for what, ids, option in others]
    correct = f"correct generation_config.json or config.json in the folder of {folder}"
    for what, ids, hint in (*uses, ("an end token (eos_token_id) is", ends, correct)):
        for token in ids:
            if not 0 <= token < rows:
                name = tokenizer.convert_ids_to_tokens(token) if token >= 0 else None
                shown = f"text token {token}" + (f" ({name!r})" if name else "")
                problem = f"{what} {shown}, but the decoder's table has {rows} rows"
                raise CheckpointError(problem, hint=hint)
    named = len(tokenizer.get_vocab())
    if 2 * named < rows:
        problem = f"the tokenizer has {named} tokens for the {rows} of the decoder"
        raise CheckpointError(problem, hint=f"most texts would be empty: {other}")


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        problem = f"{name} is {value}; it must be at least {least}"
        raise CheckpointError(problem, hint=f"pass --{name.replace('_', '-')}")


def _check_beams(generation: Generation) -> None:
    """Refuse a penalty that no score can be divided by."""
    penalty, longest = generation.length_penalty, generation.max_new_tokens
    try:
        divisor = float(longest) ** penalty
    except OverflowError:
        divisor = math.inf
    if not LEAST_DIVISOR < divisor < 1 / LEAST_DIVISOR:
        problem = f"length_penalty is {penalty}: scores would be divided by {longest} to that power"
        raise CheckpointError(problem, hint="pass --length-penalty; 1.0 is usual")
