"""Captions of many cells by the PyTorch model, in padded batches, and the accuracy of their fields.

One decision: prompts are padded on the left and masked, so that the text of a cell is that of
`Cell2TextModel.generate` for the cell alone; cells are sorted by length to keep padding short.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from c2t.calibration.metrics.accuracy import score_labels
from c2t.examples.demo.model_parts import encode_padded, pad_batch, prompt_padded
from c2t.export.model.model import Cell2TextModel, generation_config
from c2t.runtime.bundle.manifest import Generation, Prompt
from c2t.runtime.describe.caption import CaptionFields, caption_fields
from c2t.runtime.labels.normalise import normalise_label

FIELDS = ("cell_type", "tissue", "disease", "sex", "age")
EMPTY_TEXT = np.zeros(1, dtype=np.int64)
EMPTY_WEIGHT = np.zeros(1, dtype=np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Speaker:
    """A model with what it needs to describe cells."""

    model: Cell2TextModel
    tokenizer: PreTrainedTokenizerBase
    prompt: Prompt
    generation: Generation


@torch.no_grad()
def describe(
    speaker: Speaker,
    cells: Sequence[NDArray[np.int64]],
    *,
    batch: int = 64,
    max_new_tokens: int | None = None,
    report: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy captions.

    Args:
        speaker: Model, tokenizer, prompt and generation settings.
        cells: Gene tokens of each cell.
        batch: Cells at a time.
        max_new_tokens: A shorter limit than the checkpoint's, to read only the first decisions.
        report: Called with the number of cells done.

    Returns:
        Texts in the order of `cells`.
    """
    generation = replace(
        speaker.generation,
        max_new_tokens=max_new_tokens or speaker.generation.max_new_tokens,
    )
    order = sorted(range(len(cells)), key=lambda i: len(cells[i]))
    texts = [""] * len(cells)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        padded = pad_batch(
            [cells[i] for i in chosen],
            [EMPTY_TEXT] * len(chosen),
            [EMPTY_WEIGHT] * len(chosen),
            np.zeros(len(chosen), dtype=np.int64),
        )
        hidden = encode_padded(speaker.model, padded.genes, padded.gene_mask)
        embeddings, mask, _ = prompt_padded(speaker.model, hidden, padded.gene_mask, speaker.prompt)
        tokens = speaker.model.decoder.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            generation_config=generation_config(generation),
            use_model_defaults=False,
        )
        spoken = speaker.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for i, text in zip(chosen, spoken, strict=True):
            texts[i] = text
        if report:
            report(start + len(chosen))
    return texts


def macro_accuracy(true: Sequence[str], said: Sequence[str | None]) -> float:
    """Share of right ones, averaged over the true classes; names are normalised."""
    got = [None if name is None else normalise_label(name) for name in said]
    return score_labels([normalise_label(name) for name in true], got).macro_recall


def accuracy(true: Sequence[str | None], said: Sequence[str | None]) -> float:
    """Share of equal values; None equals None."""
    return float(np.mean([a == b for a, b in zip(true, said, strict=True)]))


def field(captions: Sequence[str], name: str) -> list[str | None]:
    """One field of each caption."""
    read: list[CaptionFields] = [caption_fields(text) for text in captions]
    return [getattr(fields, name) for fields in read]
