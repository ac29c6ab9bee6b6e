"""What a loaded checkpoint must be before minutes are spent on exporting it."""

import torch

from c2t.export.checkpoint.options import LoadedCheckpoint
from c2t.export.decoders.llama import cached_positions
from c2t.runtime.system.errors import CheckpointError

# Numbers that are looked at together: keeps the check of a large table out of memory.
BLOCK = 1 << 24


def check_checkpoint(loaded: LoadedCheckpoint) -> None:
    """Refuse weights that are not finite, and settings that no text could be written with.

    Raises:
        CheckpointError: Lists the tensors, or names the numbers.
    """
    _check_sizes(loaded)
    broken = [
        name
        for name, tensor in loaded.model.named_parameters()
        if not all(torch.isfinite(part).all() for part in tensor.detach().flatten().split(BLOCK))
    ]
    if broken:
        shown = ", ".join(broken[:10]) + (", ..." if len(broken) > 10 else "")
        problem = f"{len(broken)} tensors of the checkpoint hold NaN or infinite values: {shown}"
        raise CheckpointError(problem, hint="the training run that wrote it had diverged")


def _check_sizes(loaded: LoadedCheckpoint) -> None:
    model, prompt, generation = loaded.model, loaded.prompt, loaded.generation
    for name, value in (
        ("top_k", model.top_k),
        ("max_new_tokens", generation.max_new_tokens),
        ("num_beams", generation.num_beams),
    ):
        if value < 1:
            problem = f"{name} is {value}; it must be at least 1"
            raise CheckpointError(problem, hint=f"pass --{name.replace('_', '-')}")
    kind = model.projector.config
    vectors = model.top_k if kind.kind == "mlp" else kind.num_latents
    around = len(prompt.prefix_ids) + len(prompt.suffix_ids)
    needed = around + vectors + generation.max_new_tokens
    positions = cached_positions(model.decoder.config)
    if needed > positions:
        problem = (
            f"the decoder has {positions} positions, but {needed} are needed: {around} for the "
            f"prompt, {vectors} cell vectors, {generation.max_new_tokens} new tokens"
        )
        raise CheckpointError(problem, hint="pass smaller --max-new-tokens or --top-k")
