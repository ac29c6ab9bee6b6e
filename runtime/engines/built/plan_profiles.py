"""Shapes that plans are optimised for: what describing cells really asks of each graph.

One decision: a prompt and a step have profiles of their own. A step has few tokens for several
cells, a prompt has many for one; a plan tuned for both at once is good at neither. The price: where
TensorRT lays weights out differently for the two, a plan holds them twice. Measured with TensorRT
for RTX 1.7 at 1B sizes: float16 weights 1.52 times (1.00 with either profile alone), int8 1.02.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.describe.cell_vectors import BATCH_TOKENS
from c2t.runtime.system.errors import EngineError

# The profiles of the decoder, in the order in which a plan holds them.
PROMPT_PROFILE, STEP_PROFILE = 0, 1
# Slots are rounded up to so many: fused attention likes even sizes, and a few more cost nothing.
CAPACITY_STEP = 64


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Least, usual and largest shape of one input in one profile."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


Profile = dict[str, Shapes]  # by input


@dataclass(frozen=True, kw_only=True)
class PlanUse:
    """What a set of plans must be able to do.

    Args:
        rows: Cells (or beams) that are written at the same time.
        max_new_tokens: Longest text; None: the bundle's own setting.
        draft: Most drafted tokens of a step.
    """

    rows: int = 8
    max_new_tokens: int | None = None
    draft: int = 32


def cache_capacity(manifest: Manifest, use: PlanUse) -> int:
    """Slots of the caches, a fixed number in TensorRT: prompt, text, and a draft behind it.

    Raises:
        EngineError: More than the decoder has positions.
    """
    texts = use.max_new_tokens or manifest.generation.max_new_tokens
    needed = manifest.prompt_length + texts
    most = manifest.decoder.max_positions
    if needed > most:
        problem = f"a prompt of {needed - texts} and {texts} new tokens exceed {most} positions"
        raise EngineError(problem, hint="build for fewer new tokens: --max-new-tokens")
    return -(-(needed + use.draft) // CAPACITY_STEP) * CAPACITY_STEP


def encoder_profiles(manifest: Manifest, use: PlanUse) -> list[Profile]:
    """One cell of any length; and several short ones of equal length, as they are batched."""
    width, longest = manifest.gene_input.hidden_size, manifest.gene_input.input_size
    short = min(longest, BATCH_TOKENS)
    profiles = [_encoder_profile(1, longest, min(longest, 2048), width)]
    if use.rows > 1:
        profiles.append(_encoder_profile(use.rows, short, max(1, short // use.rows), width))
    return profiles


def projector_profiles(manifest: Manifest, use: PlanUse) -> list[Profile]:
    """The encoder's rows of one to several cells."""
    width, rows = manifest.gene_input.hidden_size, manifest.encoder.rows
    longest = rows or manifest.gene_input.input_size
    shapes = Shapes(least=(1, 1, width), usual=(1, longest, width), most=(use.rows, longest, width))
    return [{"hidden": shapes}]


def decoder_profiles(manifest: Manifest, use: PlanUse) -> list[Profile]:
    """A prompt (or its prefix) of one cell; and a step, drafts and all, of up to `rows` cells."""
    prompt = manifest.prompt_length
    draft = 1 + use.draft
    capacity = cache_capacity(manifest, use)
    return [
        _decoder_profile(manifest, capacity, (1, 1), (prompt, prompt + use.draft), (1, draft)),
        _decoder_profile(manifest, capacity, (1, use.rows), (1, draft), (1, draft)),
    ]


def _encoder_profile(cells: int, longest: int, usual: int, width: int) -> Profile:
    return {
        "embeddings": Shapes(
            least=(1, 1, width), usual=(cells, usual, width), most=(cells, longest, width)
        )
    }


def _decoder_profile(
    manifest: Manifest,
    capacity: int,
    cells: tuple[int, int],
    tokens: tuple[int, int],
    logit_rows: tuple[int, int],
) -> Profile:
    """A profile of steps.

    Args:
        manifest: Sizes.
        capacity: Slots.
        cells: Usual and largest number.
        tokens: Of a cell.
        logit_rows: Of a cell.
    """
    sizes = manifest.decoder

    def each(*inner: tuple[int, int], outer: tuple[int, ...] = ()) -> Shapes:
        usual, most = (tuple(values) for values in zip(cells, *inner, strict=True))
        least = (1,) * len(usual)
        return Shapes(least=(*least, *outer), usual=(*usual, *outer), most=(*most, *outer))

    profile = {
        "inputs_embeds": each(tokens, outer=(sizes.hidden_size,)),
        "position_ids": each(tokens),
        "logit_rows": each(logit_rows),
        "write_index": each(),
        "kv_length": each(),
    }
    cache = each(outer=(sizes.kv_heads, capacity, sizes.head_size))
    return profile | {f"past_{name}": cache for name in sizes.cache_names}
