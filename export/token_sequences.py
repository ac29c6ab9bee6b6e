"""Gene token sequences to check an export with: of real cells where a file is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2t.export.encoders.families import encoder_family
from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.loaded_checkpoint import CheckpointOutline
from c2t.export.parity.examples import cell_sequences
from c2t.runtime.bundle.manifest import GeneInput

SEED = 20250924  # for genes in random order, where no file is given


def example_sequences(
    outline: CheckpointOutline, cells: Path | None
) -> tuple[list[list[int]], str]:
    """As `gene_sequences`, of a checkpoint's vocabulary and input size."""
    genes = outline.genes
    spec = encoder_family(outline.encoder.model_type).gene_input(outline.encoder, genes)
    return gene_sequences(genes, spec, cells)


def gene_sequences(
    genes: EncoderVocabulary, spec: GeneInput, cells: Path | None
) -> tuple[list[list[int]], str]:
    """Token sequences of different lengths, the most typical first.

    Args:
        genes: The encoder's vocabulary.
        spec: Its input.
        cells: An `.h5ad` file of real cells; None: genes of the vocabulary in random order.

    Returns:
        Sequences of gene tokens, special tokens included, and a sentence that says what they are.

    Raises:
        CellFileError: The file cannot be read, or holds no cell with known genes.
    """
    if cells is None:
        whole = [_random_sequence(genes, spec, seed) for seed in range(2)]
        source = "genes of the vocabulary in random order (no file of cells was given)"
    else:
        whole = cell_sequences(cells, genes, spec)
        source = f"{len(whole)} cells of {cells.name}"
    return whole, source


def _random_sequence(genes: EncoderVocabulary, spec: GeneInput, seed: int) -> list[int]:
    draw = np.random.default_rng(SEED + seed)
    specials = (spec.cls_token is not None) + (spec.eos_token is not None)
    # One sequence fills the input, the other half of it.
    size = min((spec.input_size - specials) // (seed + 1), len(genes.token))
    tokens: list[int] = draw.permutation(genes.token)[:size].tolist()
    front = [] if spec.cls_token is None else [spec.cls_token]
    back = [] if spec.eos_token is None else [spec.eos_token]
    return [*front, *tokens, *back]
