"""Shapes that plans are optimised for: those that describing cells asks of each graph.

One decision: a prompt and a step have profiles of their own. A step has few tokens of several
cells, a prompt has many of one; a plan tuned for both at once is good at neither. The price: where
TensorRT lays weights out differently for the two, a plan holds them twice. Measured with TensorRT
for RTX 1.7 at 1B sizes: float16 weights 1.52 times (1.00 with either profile alone), int8 1.02.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.engine_protocol import ENCODER_BATCH_TOKENS, PIECE_TOKENS

# The profiles of the decoder, in the order in which a plan holds them.
PROMPT_PROFILE, STEP_PROFILE = 0, 1
# The capacity is a multiple of this: fused attention is faster at even sizes, and a few more cache
# positions cost nothing.
CAPACITY_STEP = 64


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Smallest, usual and largest shape of one input in one profile."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


Profile = dict[str, Shapes]  # by input


@dataclass(frozen=True, kw_only=True)
class PlanUse:
    """What a plan set must be able to do.

    Args:
        rows: Cells (or beams) that are written at the same time.
        max_new_tokens: Longest text; None: the bundle's own setting.
        draft: Most drafted tokens of a step.
    """

    rows: int = 8
    max_new_tokens: int | None = None
    draft: int = 32


def cache_capacity(manifest: Manifest, use: PlanUse) -> int:
    """Cache positions of a batch row, a fixed number in TensorRT: prompt, text and a draft.

    Raises:
        EngineError: The decoder has not so many positions.
    """
    new_tokens = use.max_new_tokens or manifest.generation.max_new_tokens
    needed = manifest.text_capacity(new_tokens) + use.draft
    return -(-needed // CAPACITY_STEP) * CAPACITY_STEP


def encoder_profiles(manifest: Manifest, use: PlanUse) -> list[Profile]:
    """One cell of any length; and several short cells of equal length."""
    hidden_size, longest = manifest.gene_input.hidden_size, manifest.gene_input.input_size
    short = min(longest, ENCODER_BATCH_TOKENS)
    profiles = [_encoder_profile(1, longest, min(longest, 2048), hidden_size)]
    if use.rows > 1:
        profiles.append(_encoder_profile(use.rows, short, max(1, short // use.rows), hidden_size))
    return profiles


def projector_profiles(manifest: Manifest, use: PlanUse) -> list[Profile]:
    """The hidden states of one to several cells."""
    hidden_size, rows = manifest.gene_input.hidden_size, manifest.encoder.rows
    longest = rows or manifest.gene_input.input_size
    shapes = Shapes(
        least=(1, 1, hidden_size),
        usual=(1, longest, hidden_size),
        most=(use.rows, longest, hidden_size),
    )
    return [{"hidden": shapes}]


def decoder_profiles(manifest: Manifest, use: PlanUse) -> list[Profile]:
    """A prompt, or a piece of it, of one cell; and a step of up to `rows` cells with drafts."""
    prompt = min(manifest.prompt_length, PIECE_TOKENS)
    draft = 1 + use.draft
    capacity = cache_capacity(manifest, use)
    return [
        _decoder_profile(manifest, capacity, (1, 1), (prompt, prompt + use.draft), (1, draft)),
        _decoder_profile(manifest, capacity, (1, use.rows), (1, draft), (1, draft)),
    ]


def _encoder_profile(cells: int, longest: int, usual: int, hidden_size: int) -> Profile:
    return {
        "embeddings": Shapes(
            least=(1, 1, hidden_size),
            usual=(cells, usual, hidden_size),
            most=(cells, longest, hidden_size),
        )
    }


def _decoder_profile(
    manifest: Manifest,
    capacity: int,
    cells: tuple[int, int],
    tokens: tuple[int, int],
    logit_rows: tuple[int, int],
) -> Profile:
    """A profile of the decoder.

    Args:
        manifest: Sizes.
        capacity: Cache positions of a batch row.
        cells: Usual and largest number of cells.
        tokens: Usual and largest number of tokens of a cell.
        logit_rows: Usual and largest number of logit rows of a cell.
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
