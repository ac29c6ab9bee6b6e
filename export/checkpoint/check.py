"""What is refused before minutes are spent on an export: impossible settings, broken weights."""

from __future__ import annotations

import torch

from c2t.export.checkpoint.tensors.assembly import build_empty, count_parameters
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.export.model.loaded_checkpoint import CheckpointOutline, LoadedCheckpoint
from c2t.export.model.model import check_fit, layers_needed
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import build_projector, cell_vectors
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.progress import progress_bar

# Numbers that are looked at together: a mask of a large table takes memory.
BLOCK = 1 << 24
FLOAT32_BYTES = 4


def check_outline(outline: CheckpointOutline) -> None:
    """Refuse settings and vocabularies that no text could be written with.

    Raises:
        CheckpointError: Names the number, and the option that changes it.
    """
    generation = outline.settings.generation
    for name, value, least in (
        ("top_k", outline.top_k, 1),
        ("max_new_tokens", generation.max_new_tokens, 1),
        ("num_beams", generation.num_beams, 1),
        ("no_repeat_ngram_size", generation.no_repeat_ngram_size, 0),
    ):
        if value < least:
            problem = f"{name} is {value}; it must be at least {least}"
            raise CheckpointError(problem, hint=f"pass --{name.replace('_', '-')}")
    layers_needed(int(outline.encoder.num_hidden_layers), outline.emb_layer)
    _check_vocabularies(outline)
    if outline.projector is not None:
        check_projector(outline, outline.projector)


def check_projector(outline: CheckpointOutline, projector: ProjectorConfig) -> None:
    """Refuse a projector of other sizes, or with more cell vectors than the decoder has room for.

    Raises:
        CheckpointError: Names the numbers.
    """
    check_fit(outline.encoder, projector, outline.decoder)
    prompt, new_tokens = outline.prompt, outline.settings.generation.max_new_tokens
    vectors = cell_vectors(projector, outline.top_k)
    around = len(prompt.prefix_ids) + len(prompt.suffix_ids)
    needed = around + vectors + new_tokens
    positions = decoder_family(outline.decoder.model_type).max_positions(outline.decoder)
    if needed > positions:
        problem = (
            f"the decoder has {positions} positions, but {needed} are needed: {around} for the "
            f"prompt, {vectors} cell vectors, {new_tokens} new tokens"
        )
        raise CheckpointError(problem, hint="pass smaller --max-new-tokens or --top-k")


def check_weights(loaded: LoadedCheckpoint) -> None:
    """Refuse weights that are not finite.

    Raises:
        CheckpointError: Lists the tensors.
    """
    size = FLOAT32_BYTES * count_parameters(loaded.model)
    broken = []
    # Mapped weights are read from the disk here.
    with progress_bar("checking the weights", size, unit="bytes") as advance:
        for name, tensor in loaded.model.named_parameters():
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
    text = (*prompt.prefix_ids, prompt.placeholder_id, *prompt.suffix_ids)
    special = [token for token in genes.special_tokens().values() if token is not None]
    for what, token, rows, hint in (
        (
            "the prompt has text token",
            max(*text, *outline.settings.generation.eos_token_ids),
            int(outline.decoder.vocab_size),
            "the tokenizer belongs to another decoder",
        ),
        (
            "the vocabulary has gene token",
            max(int(genes.token.max()), *special),
            int(outline.encoder.vocab_size),
            "the genes belong to another encoder",
        ),
    ):
        if token >= rows:
            problem = f"{what} {token}, but the table of tokens has {rows} rows"
            raise CheckpointError(problem, hint=hint)
