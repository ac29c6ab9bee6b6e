"""Compares two bundles on the same cells: texts, tokens, and next-token distributions.

The first bundle is the judged one, the second the reference. KL is KL(second || first) along the
reference's own texts: how surprised the judged bundle is by what the reference writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.evaluate.teacher_forcing import TeacherForcing, kl_divergence
from c2t.calibration.metrics.bootstrap import Bootstrap
from c2t.calibration.results.evaluation import Comparison
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.describe.description import Description

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Forced:
    """Figures of one of the reference's texts, scored by both bundles.

    Args:
        tokens: Tokens of the text.
        same_choice: Positions where both have the same likeliest token (no n-gram ban).
        kl: Sum of the divergences of all positions, in nats.
    """

    tokens: int
    same_choice: int
    kl: float


def compare_tokens(first: Sequence[int], second: Sequence[int]) -> tuple[int, int, int | None]:
    """Equal positions, length of the longer one, and the first different position (or None)."""
    longer = max(len(first), len(second))
    same = [a == b for a, b in zip(first, second, strict=False)]
    differs = next((i for i, equal in enumerate(same) if not equal), None)
    if differs is None and len(first) != len(second):
        differs = len(same)
    return sum(same), longer, differs


def vocabularies_differ(first: Bundle, second: Bundle) -> str | None:
    """Why the text tokens of two bundles cannot be compared; None if they can."""
    entry = "tokenizer.json"
    if first.manifest.files[entry].sha256 == second.manifest.files[entry].sha256:
        return None
    if first.tokenizer.words == second.tokenizer.words:
        return None
    return "the bundles' tokenizers differ, so only their texts can be compared"


def compare(
    judged: Sequence[Description],
    reference: Sequence[Description],
    bootstrap: Bootstrap,
    forced: Sequence[Forced | None] | None = None,
    not_compared: str | None = None,
) -> Comparison:
    """Compare descriptions of the same B cells.

    Args:
        judged: [B] descriptions of the first bundle.
        reference: [B] of the second.
        bootstrap: Resamples of the B cells.
        forced: [B] results of `force`; None without them.
        not_compared: See `vocabularies_differ`.
    """
    cells = len(judged)
    identical = np.full(cells, np.nan)
    same, longer, divergences, lengths = np.zeros(cells), np.zeros(cells), [], []
    for cell, (a, b) in enumerate(zip(judged, reference, strict=True)):
        if a.text is None or b.text is None:
            continue
        identical[cell] = a.text == b.text
        if not_compared is None:
            same[cell], longer[cell], differs = compare_tokens(a.tokens, b.tokens)
            if differs is not None:
                divergences.append(differs)
                lengths.append(int(longer[cell]))
    compared = int(np.isfinite(identical).sum())
    kept = [f or Forced(tokens=0, same_choice=0, kl=0.0) for f in forced or []]
    tokens = np.array([f.tokens for f in kept], dtype=np.float64)
    has_tokens, has_forced = longer.sum() > 0, tokens.sum() > 0
    return Comparison(
        cells=compared,
        identical_texts=bootstrap.mean(identical),
        token_agreement=bootstrap.ratio(same, longer) if has_tokens else None,
        forced_agreement=bootstrap.ratio(
            np.array([f.same_choice for f in kept], dtype=np.float64), tokens
        )
        if has_forced
        else None,
        kl_per_token=bootstrap.ratio(np.array([f.kl for f in kept]), tokens)
        if has_forced
        else None,
        first_divergence=tuple(divergences),
        text_lengths=tuple(lengths),
        not_compared=not_compared,
    )


def force(
    judged: TeacherForcing,
    reference: TeacherForcing,
    cells: Iterator[tuple[GeneTokenArray, GeneTokenArray, Sequence[int]]],
) -> Iterator[Forced]:
    """Score the reference's texts with both bundles.

    Args:
        judged: The first bundle.
        reference: The second.
        cells: Of each cell, its gene tokens in the judged bundle's vocabulary and in the
            reference's, and the text tokens of the reference's text.
    """
    for judged_genes, reference_genes, text in cells:
        pairs = zip(
            judged.log_probabilities(judged.prompt(judged_genes), text),
            reference.log_probabilities(reference.prompt(reference_genes), text),
            strict=True,
        )
        same, kl = 0, 0.0
        for actual, expected in pairs:
            same += int((actual.argmax(axis=1) == expected.argmax(axis=1)).sum())
            kl += float(kl_divergence(expected, actual).sum())
        yield Forced(tokens=len(text), same_choice=same, kl=kl)
