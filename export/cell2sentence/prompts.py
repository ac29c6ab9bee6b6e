"""Prompts to check an export with: of real cells where a file is given.

One decision: prompts are made as describing makes them, by c2t's own tokenizer. Where transformers'
own gives others, the model is refused: a wrong token is a wrong answer that nobody would see.
"""

from __future__ import annotations

from pathlib import Path

from c2t.export.cell2sentence.example_genes import example_genes
from c2t.export.cell2sentence.outline import SentenceOutline
from c2t.export.cell2sentence.template import example_question, example_values, rendered
from c2t.export.parity.examples import cell_sequences
from c2t.runtime.bundle.text_encoder import TextEncoder
from c2t.runtime.cells.inputs.gene_sentence import SentencePrompts
from c2t.runtime.system.errors import CheckpointError


def example_prompts(
    outline: SentenceOutline, encoder: TextEncoder, cells: Path | None
) -> tuple[list[list[int]], str]:
    """Prompts of different lengths, the most typical first.

    Args:
        outline: The checkpoint; its tokenizer, template and number of genes are used.
        encoder: Makes text tokens when cells are described.
        cells: A file of real cells; None: names of no real genes.

    Returns:
        Text tokens of whole prompts, and a sentence that says what cells they are of.

    Raises:
        CheckpointError: transformers' tokenizer gives other tokens.
        CellFileError: The file cannot be read, or holds no cell that can be described.
    """
    prompts = SentencePrompts(
        sentence=outline.sentence,
        template=outline.template,
        encoder=encoder,
        values=example_question(outline.question),
        listed=outline.listed,
    )
    genes = outline.sentence.genes
    sizes = (genes, max(1, genes // 2), max(1, genes // 8))
    made = [
        _prompt(outline, prompts, _genes(outline, size, number))
        for number, size in enumerate(sizes)
    ]
    if cells is None:
        return made, "names of genes that are made up (no file of cells was given)"
    real = cell_sequences(cells, None, prompts)
    return real, f"{len(real)} cells of {cells.name}"


def _genes(outline: SentenceOutline, size: int, number: int) -> list[str]:
    """So many names: the first of a list, or made up, others for each number."""
    return list(outline.listed[:size]) or example_genes(size, first=10 * number + 1)


def _prompt(outline: SentenceOutline, prompts: SentencePrompts, genes: list[str]) -> list[int]:
    """Text tokens of the prompt of a cell with these genes, made in both ways."""
    species = next(iter(outline.sentence.organisms))
    values = example_values(outline.sentence, genes, question=outline.question)
    ids: list[int] = prompts.tokens(genes, species).tolist()
    if ids != rendered(outline.template, outline.tokenizer, values):
        problem = "c2t's own tokenizer makes other text tokens of a prompt than transformers'"
        raise CheckpointError(problem, hint="report it with the checkpoint's tokenizer.json")
    return ids
