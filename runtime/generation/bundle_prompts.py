"""The prompts of a bundle's cells, from what a cell has become: cell vectors, or a text's tokens.

One decision: whatever the family, a prompt is one row of tokens and vectors (`CellPrompt`), so
searches, scoring and calibration know no families.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.constant_prefix import ConstantPrefix
from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.manifest import Prompt
from c2t.runtime.bundle.template import Template, fill_template
from c2t.runtime.bundle.text_encoder import TextEncoder
from c2t.runtime.engine_protocol import NO_TOKEN, DecoderEngine, Float32, Int32
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.system.timing import StageClock

# Genes that sentences begin with, of different letters and lengths.
FIRST_GENES = ("MALAT1", "RPL13", "CD74", "FTL")


@dataclass(frozen=True, eq=False, kw_only=True)
class BundlePrompts:
    """Prompts of a bundle.

    Args:
        beginning: Text tokens that all, or most, prompts begin with.
        ending: Text tokens behind the cell vectors; None where no cell becomes vectors.
        constant: Stored keys and values of first tokens; None where the bundle has none.
    """

    beginning: tuple[int, ...]
    ending: tuple[int, ...] | None
    constant: ConstantPrefix | None = None

    def of_vectors(self, vectors: Float32) -> CellPrompt:
        """The prompt of cell vectors [K,D]."""
        return CellPrompt(_around(self.beginning, len(vectors), self.ending or ()), vectors)

    def runner(self, decoder: DecoderEngine, clock: StageClock | None = None) -> PromptRunner:
        """What runs these prompts on an engine; the beginning has run then."""
        return PromptRunner(decoder, self.beginning, clock, constant=self.constant)

    def of_tokens(self, tokens: Int32) -> CellPrompt:
        """The prompt whose text tokens [T] a cell has become."""
        return CellPrompt(tokens)


@lru_cache(maxsize=256)
def _around(beginning: tuple[int, ...], vectors: int, ending: tuple[int, ...]) -> Int32:
    """Text tokens around so many cell vectors: the same array for all cells with as many."""
    ids = np.array((*beginning, *(NO_TOKEN,) * vectors, *ending), dtype=np.int32)
    ids.flags.writeable = False
    return ids


def vector_prompts(prompt: Prompt, constant: ConstantPrefix | None = None) -> BundlePrompts:
    """Prompts with cell vectors between a prefix and a suffix."""
    return BundlePrompts(beginning=prompt.prefix_ids, ending=prompt.suffix_ids, constant=constant)


def bundle_prompts(bundle: Bundle, values: Mapping[str, str] | None = None) -> BundlePrompts:
    """How the cells of a bundle become prompts.

    Args:
        bundle: The bundle.
        values: What fills the fields of its template that are the same for all cells: a question,
            else the bundle's own, and labels.

    Raises:
        C2TError: A text that cannot be made into tokens, or with too many.
    """
    manifest, constant = bundle.manifest, bundle.constant_prefix
    values = {"question": manifest.question, "labels": "", **(values or {})}
    if not manifest.template:
        return vector_prompts(manifest.prompt, constant)
    if manifest.gene_sentence is not None:
        beginning = _common_beginning(
            manifest.template, manifest.gene_sentence, bundle.text_encoder, values
        )
        return BundlePrompts(beginning=beginning, ending=None, constant=constant)
    beginning, ending = fill_template(manifest.template, bundle.text_encoder, values)
    return BundlePrompts(beginning=beginning, ending=ending, constant=constant)


def _common_beginning(
    template: Template, sentence: GeneSentence, encoder: TextEncoder, values: Mapping[str, str]
) -> tuple[int, ...]:
    """The longest common beginning of full sentences of other genes, of one species.

    Cells with fewer genes, or of another species, share less of it.
    """
    organism = next(iter(sentence.organisms.values()))
    same = {"count": str(sentence.genes), "organism": organism, **values}
    spans = [
        fill_template(template, encoder, {**same, "genes": genes, "cells": genes})[0]
        for genes in FIRST_GENES
    ]
    first, *others = spans
    length = min(map(len, spans))
    return next(
        (first[:n] for n in range(length) if any(other[n] != first[n] for other in others)),
        first[:length],
    )
