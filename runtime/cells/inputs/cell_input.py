"""The seam between counts and models: how the counts of a cell become a model's input.

A kind of input is a file beside this one and a line in `CELL_INPUTS`. The manifest says which kind
a bundle takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GENES_NAME, GeneInput
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.gene_matching import GeneMatch
from c2t.runtime.cells.genes.species import SPECIES
from c2t.runtime.cells.inputs.gene_sentence import GeneSentenceInput, SentencePrompts
from c2t.runtime.cells.inputs.named_genes import NamedGenes
from c2t.runtime.cells.inputs.rank_value import RankValueInput
from c2t.runtime.cells.listed_genes import listed_columns
from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import BundleError


class CellInput(Protocol):
    """Makes the input of cells from their counts, for one bundle and one file."""

    def encode(self, counts: SparseRows, species: Sequence[str]) -> EncodedCells:
        """Encode B cells, which are named by their numbers: 0 to B - 1.

        A cell that cannot be encoded has an error, and never stops the others.

        Args:
            counts: Rows of the matrix, as the file has them.
            species: Of each cell, where the bundle knows several.
        """


def bundle_input(
    bundle: Bundle, *, named: bool = False
) -> tuple[GeneInput | SentencePrompts, GeneVocabulary | None]:
    """What a bundle makes of a cell, and the genes that it knows; None: it takes any names.

    Args:
        bundle: The bundle.
        named: Of gene sentences: the genes by name, for prompts that are made later.

    Raises:
        BundleError: Its sentences are of a species that c2t does not know.
    """
    manifest = bundle.manifest
    sentence = manifest.gene_sentence
    if sentence is None:
        return manifest.gene_input, bundle.genes
    if strangers := sorted(sentence.organisms.keys() - {species.name for species in SPECIES}):
        problem = f"this c2t does not know a species of the bundle's cells: {strangers[0][:40]!r}"
        raise BundleError(problem, hint="update c2t, or export it again with another --organism")
    kind = NamedGenes if named else SentencePrompts
    prompts = kind(
        sentence=sentence,
        template=manifest.template,
        encoder=bundle.text_encoder,
        values={"question": manifest.question, "labels": ""},
        listed=bundle.gene_order,
    )
    return prompts, bundle.genes if GENES_NAME in manifest.files else None


def _rank_values(
    gene_input: GeneInput,
    genes: GeneVocabulary | None,
    match: GeneMatch,
    log_base: float | None,
) -> CellInput:
    assert genes is not None  # every bundle with an encoder has them
    return RankValueInput(gene_input, genes, match.column_gene, log_base=log_base)


def _gene_sentences(
    prompts: SentencePrompts,
    genes: GeneVocabulary | None,
    match: GeneMatch,
    log_base: float | None,
) -> CellInput:
    symbols: Sequence[str] = match.symbols
    columns = match.column_gene
    if prompts.listed:
        symbols, columns = prompts.listed, listed_columns(match, prompts.listed)
    return GeneSentenceInput(prompts, symbols, columns, log_base=log_base)


# By the class of what the manifest says of it: makes the input for a file, from its genes and the
# base b of its values log_b(1 + x), which are undone; None for counts.
CELL_INPUTS: dict[type, Callable[[Any, GeneVocabulary | None, GeneMatch, float | None], CellInput]]
CELL_INPUTS = {
    GeneInput: _rank_values,
    SentencePrompts: _gene_sentences,
    NamedGenes: _gene_sentences,
}
