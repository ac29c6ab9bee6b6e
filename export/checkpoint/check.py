"""What is refused before minutes are spent on an export: impossible settings, broken weights."""

from __future__ import annotations

import torch

from c2t.export.checkpoint.tensors.assembly import build_empty, count_parameters
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.export.model.loaded_checkpoint import CheckpointOutline, LoadedCheckpoint
from c2t.export.model.model import layers_needed
from c2t.export.projectors.families import build_projector, cell_vectors
from c2t.runtime.system.errors import CheckpointError

# Numbers that are looked at together: the mask of a large table would not fit into memory.
BLOCK = 1 << 24
FLOAT32_BYTES = 4


def check_outline(outline: CheckpointOutline) -> None:
    """Refuse settings that no text could be written with.

    The number of cell vectors may be known only with the weights; then at least one is assumed,
    and `check_checkpoint` looks again.

    Raises:
        CheckpointError: Names the number, and the option that changes it.
    """
    generation, projector = outline.settings.generation, outline.projector
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
    vectors = 1 if projector is None else cell_vectors(projector, outline.top_k)
    _check_positions(outline, vectors)


def check_checkpoint(loaded: LoadedCheckpoint, outline: CheckpointOutline) -> None:
    """Refuse weights that are not finite, and more cell vectors than the decoder has room for.

    Raises:
        CheckpointError: Lists the tensors, or names the numbers.
    """
    model = loaded.model
    _check_positions(outline, cell_vectors(model.projector.config, model.top_k))
    broken = [
        name
        for name, tensor in model.named_parameters()
        if not all(torch.isfinite(part).all() for part in tensor.detach().flatten().split(BLOCK))
    ]
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


def _check_positions(outline: CheckpointOutline, vectors: int) -> None:
    prompt, new_tokens = outline.prompt, outline.settings.generation.max_new_tokens
    around = len(prompt.prefix_ids) + len(prompt.suffix_ids)
    needed = around + vectors + new_tokens
    family = decoder_family(outline.decoder.model_type)
    positions = family.max_positions(outline.decoder)
    if needed > positions:
        problem = (
            f"the decoder has {positions} positions, but {needed} are needed: {around} for the "
            f"prompt, {vectors} cell vectors, {new_tokens} new tokens"
        )
        raise CheckpointError(problem, hint="pass smaller --max-new-tokens or --top-k")
