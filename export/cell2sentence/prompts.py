"""Prompts to check an export with: of real cells where a file is given."""

from __future__ import annotations

from pathlib import Path

from c2t.export.cell2sentence.example_genes import example_genes
from c2t.export.cell2sentence.outline import SentenceOutline
from c2t.export.cell2sentence.template import GENES, rendered


def example_prompts(outline: SentenceOutline, cells: Path | None) -> tuple[list[list[int]], str]:
    """Prompts of different lengths, the most typical first.

    Args:
        outline: The checkpoint; its tokenizer, template and number of genes are used.
        cells: A file of real cells; None: names of no real genes.

    Returns:
        Text tokens of whole prompts, and a sentence that says what cells they are of.
    """
    genes = outline.sentence.genes
    sizes = (genes, max(1, genes // 2), max(1, genes // 8))
    prompts = [
        _prompt(outline, example_genes(size, first=10 * number + 1))
        for number, size in enumerate(sizes)
    ]
    return prompts, "names of genes that are made up (no file of cells was given)"


def _prompt(outline: SentenceOutline, genes: list[str]) -> list[int]:
    """Text tokens of the prompt of a cell with these genes."""
    sentence = outline.sentence
    values = {
        GENES: sentence.separator.join(genes),
        "count": str(len(genes)),
        "organism": next(iter(sentence.organisms.values())),
    }
    return rendered(outline.template, outline.tokenizer, values)
